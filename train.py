"""Train and test a bone-age model; python train.py --help lists what can be chosen."""

import shutil
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from boneage.errors import UserError


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Run one experiment and return its best validation score, for searches.

    A user's mistake is said in one line and leaves no empty run behind.
    """
    from boneage.run.experiment import train  # torch takes seconds: not for --help

    try:
        return train(cfg)["best_validation"]
    except UserError as error:
        if HydraConfig.get().mode is RunMode.MULTIRUN:  # the other jobs of the sweep go on
            raise CompactHydraException(f"error: {error}") from None
        run_dir = Path(HydraConfig.get().runtime.output_dir)
        if {path.name for path in run_dir.iterdir()} <= {".hydra", "train.log"}:
            shutil.rmtree(run_dir)
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
