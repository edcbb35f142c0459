"""Records of a run: the curves and the speed of its training, and the predictions of a fold."""

import time
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from typing_extensions import override

from boneage.data.dataset import Batch
from boneage.data.module import BoneAgeDataModule
from boneage.errors import FailedRun
from boneage.evaluation.evaluate import Scored
from boneage.models.module import BoneAgeModule, as_array

CSV_DECIMALS = 6
TRUE = ("id", "patient", "sex", "age_years")  # columns of the data in predictions.csv
# per task the rows of the radiographs with a target, their true values and their predictions
Pairs = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
BatchOutput = tuple[pd.DataFrame, Pairs]  # with the tasks' columns of a batch


def model_and_data(trainer: L.Trainer) -> tuple[BoneAgeModule, BoneAgeDataModule]:
    """Return the project's own model and data module, which every run has."""
    model, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(model, BoneAgeModule)
    assert isinstance(data, BoneAgeDataModule)
    return model, data


class History(L.Callback):
    """Record the logged values of each epoch of training and validation.

    An epoch without validation has no values of `val/...`; of several validations in an epoch, it
    has those of the last. The values are stored in the checkpoint, so that a resumed run has the
    curves from the first epoch.

    Attributes:
        validated: the current epoch has had a validation.
    """

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []
        self.validated = False

    @property
    def table(self) -> pd.DataFrame:
        """The epochs so far: `epoch`, `learning_rate` at its end, and every logged name."""
        return pd.DataFrame(self._epochs)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the training values of earlier epochs, which Lightning keeps."""
        self.validated = False
        for name in list(trainer.callback_metrics):
            if not name.startswith("val/"):
                del trainer.callback_metrics[name]

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validated = True

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        logged = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if self.validated or not name.startswith("val/")  # Lightning keeps those of before
        }
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._epochs.append(logged | {"epoch": trainer.current_epoch, "learning_rate": rate})

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self._epochs}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint; testing loads one too, and must not cut the curves."""
        if len(state_dict["epochs"]) > len(self._epochs):
            self._epochs = list(state_dict["epochs"])


class Throughput(L.Callback):
    """Log images per second of each training epoch, without validation.

    The counts are stored in the checkpoint, so that a resumed run includes its earlier epochs.

    Attributes:
        images: training images seen so far, over all epochs.
        seconds: time spent on them.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self._earlier = 0.0
        self._begun = self._start = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far: of this process, and of those it resumes from."""
        return self._earlier + time.perf_counter() - self._begun

    @property
    def images_per_second(self) -> float | None:
        """The mean over the run, None before the first epoch has ended."""
        return self.images / self.seconds if self.seconds else None

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()
        self._images = 0

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validation_begun = time.perf_counter()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out the time of a validation within an epoch."""
        self._start += time.perf_counter() - self._validation_begun

    @override
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self._images += len(batch["image"]) * trainer.world_size
        if trainer.is_last_batch:  # the last validation runs before on_train_epoch_end
            seconds = time.perf_counter() - self._start
            self.images += self._images
            self.seconds += seconds
            pl_module.log("images_per_second", self._images / seconds, on_step=False, on_epoch=True,
                batch_size=1, sync_dist=True)  # fmt: skip

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.seconds, "elapsed": self.elapsed}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint; testing loads one too, and must not count twice."""
        if state_dict["images"] > self.images:
            self.images, self.seconds = state_dict["images"], state_dict["seconds"]
            self._earlier = state_dict["elapsed"]


class Predictions(L.Callback):
    """Gather truth and prediction of each radiograph of the validation or test fold.

    Attributes:
        tasks: after an epoch of validation or test, the predictions of each task, in the order of
            the table.
        table: after an epoch of validation or test, `id`, `patient` (if known), `sex`,
            `age_years`, `stage` (all true) and the tasks' columns, indexed by the row of the data
            module's table.
    """

    def __init__(self) -> None:
        self.table = pd.DataFrame()
        self.tasks: list[Scored] = []
        self._batches: list[BatchOutput] = []
        self._taken = {*TRUE, "stage"}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Clear the previous fold: a test without a batch has no predictions."""
        self.table = pd.DataFrame()
        self._taken |= set(model_and_data(trainer)[1].described)

    @override
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, BoneAgeModule)
        assert isinstance(outputs, dict)
        index = batch["index"].cpu().numpy()
        columns: dict[str, object] = {}
        pairs: Pairs = {}
        for name, task in pl_module.tasks.items():
            part, predicted = task.with_target(batch, outputs[name])
            true = as_array(task.encode(part))
            pairs[name] = part["index"].cpu().numpy(), true, _rounded(predicted)
            own = task.columns(outputs[name])
            if not isinstance(own, dict):
                raise FailedRun(
                    f"tasks.{name}: columns() must return a dict of columns, not "
                    f"{type(own).__name__}"
                )
            for column, values in own.items():
                if (shape := tuple(np.shape(values))) != index.shape:
                    raise FailedRun(
                        f"tasks.{name}: {column} has shape {shape} for {len(index)} "
                        "radiographs: columns() must give one value for each"
                    )
                if column in self._taken or column in columns:
                    raise FailedRun(
                        f"tasks.{name}: predictions.csv already has the column {column}: columns() "
                        "must give another name"
                    )
                columns[column] = _rounded(values) if isinstance(values, Tensor) else values
        self._batches.append((pd.DataFrame(columns, index=index), pairs))

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        model, data = model_and_data(trainer)
        batches = _of_all_processes(self._batches)
        predicted = pd.concat([columns for columns, _ in batches])
        predicted = predicted.iloc[np.argsort(predicted.index)]
        self.tasks = []
        for name, task in model.tasks.items():
            of_batches = zip(*(pairs[name] for _, pairs in batches), strict=True)
            rows, true, own = map(np.concatenate, of_batches)
            order = np.argsort(rows)
            has_target = predicted.index.isin(rows)
            self.tasks.append(
                Scored(name, task.metrics(), true[order], own[order], task.constant, has_target)
            )
        self._batches.clear()
        columns = [c for c in TRUE if c in data.table]
        columns += data.described
        truth = data.table.loc[predicted.index, columns]
        stages = [data.stages.names[k] for k in data.stages.index_of(truth["age_years"].to_numpy())]
        self.table = truth.assign(stage=stages).join(predicted)

    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end


def predictions_of(trainer: L.Trainer) -> pd.DataFrame:
    """Return the newest table of the trainer's `Predictions`, which must precede the caller."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next(callback for callback in callbacks if isinstance(callback, Predictions)).table


def _of_all_processes(batches: list[BatchOutput]) -> list[BatchOutput]:
    """Return the batches of all processes that train together."""
    if not torch.distributed.is_initialized():
        return batches
    gathered: list[list[BatchOutput]] = [[]] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, batches)
    return [batch for of_process in gathered for batch in of_process]


def _rounded(values: Tensor) -> np.ndarray:
    """Round to the decimals of the file, so that scores match its numbers."""
    rounded: np.ndarray = as_array(values).round(CSV_DECIMALS)
    return rounded
