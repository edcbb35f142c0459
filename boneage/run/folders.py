"""Whether Hydra will be able to write its folder of a run or sweep."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class WritableFolder(Callback):
    """End in one line when the folder of a run or sweep cannot be made."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Make the folder of a single run."""
        make_folder(Path(config.hydra.run.dir), "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Make the folder of a sweep."""
        make_folder(Path(config.hydra.sweep.dir), "hydra.sweep.dir")


def make_folder(folder: Path, option: str) -> None:
    """Make a folder and write into it.

    Raises:
        SystemExit: naming the folder, the reason and the option.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        sys.exit(
            f"error: nothing can be written into {folder} ({error.strerror}): choose another "
            f"folder with {option}="
        )
