"""Several processes that train one model together."""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from boneage.errors import UserError


def is_first_process() -> bool:
    """Whether this process writes the run folder and speaks to the user."""
    rank: int | None = getattr(rank_zero_only, "rank", None)
    return not rank


def check_strategy(cfg: DictConfig) -> None:
    """Raise UserError when a sweep asks each of its jobs to start further processes.

    Lightning's `ddp` starts them with this command line, so each would run the whole sweep; its
    `ddp_spawn` leaves results in processes that are gone.
    """
    sweeping = HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN
    if sweeping and "ddp" in str(cfg.trainer.get("strategy")):
        raise UserError(
            f"trainer.strategy={cfg.trainer.strategy} cannot be swept with -m: its processes would "
            "start the sweep anew; run these settings one after the other, or let each job have "
            "one device (hydra/launcher=joblib or slurm)"
        )
