"""Average the weights of trainings with the same start; print the validation MAE of all.

python studies/rsna/soup.py OUT.ckpt /path/to/rsna RUN RUN...

Writes the best checkpoint of the first run with the mean weights, and calibrates it again.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from boneage.data.dataset import sex_indices
from boneage.data.module import BoneAgeDataModule
from boneage.models.inference import predictions_of
from boneage.run.calibrate import calibrate
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.checkpoint_file import checkpoint_file
from boneage.run.process import quieten_lightning


def mean_weights(checkpoints: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return the mean of every floating-point tensor; others are from the first checkpoint."""
    states = [checkpoint["state_dict"] for checkpoint in checkpoints]
    return {
        name: torch.stack([state[name] for state in states]).mean(0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[0].items()
    }


def validation_mae(checkpoint: dict[str, Any], data: BoneAgeDataModule) -> float:
    """Return the validation MAE in months, with the mirror image as in tests."""
    table = data.fold_table("val")
    images, sex = data.images_of(table.index), sex_indices(table["sex"])
    predicted, _ = predictions_of(load_model(checkpoint).eval(), images, sex)
    error = predicted["age_years_predicted"].to_numpy() - table["age_months"].to_numpy() / 12
    return 12 * float(abs(error).mean())


def average(out: Path, root: Path, runs: list[Path]) -> None:
    """Measure the runs and their mean, and write the mean."""
    quieten_lightning()
    checkpoints = [read_checkpoint(checkpoint_file(run)) for run in runs]
    soup = dict(checkpoints[0], state_dict=mean_weights(checkpoints))
    config = OmegaConf.create(soup["boneage"]["config_text"])
    config.data.root = str(root)
    data = instantiate(config.data)
    data.setup("fit")
    for run, checkpoint in zip([*map(str, runs), "their mean"], [*checkpoints, soup], strict=True):
        print(f"{run}: {validation_mae(checkpoint, data):.2f} months")
    soup["boneage"]["calibration"] = calibrate(load_model(soup), data)
    torch.save(soup, out)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    average(Path(sys.argv[1]), Path(sys.argv[2]), [Path(run) for run in sys.argv[3:]])
