"""Collect the predictions of a fold as a table."""

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from typing_extensions import override

from boneage.data.dataset import Batch
from boneage.data.module import BoneAgeDataModule
from boneage.errors import FailedRun
from boneage.evaluation.evaluate import Scored
from boneage.models.module import BoneAgeModule, as_array

CSV_DECIMALS = 6
# per task the rows of the radiographs with a target, their true values and their predictions
Pairs = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
BatchOutput = tuple[pd.DataFrame, Pairs]  # with the tasks' columns of a batch


def writer_of(trainer: L.Trainer) -> SummaryWriter | None:
    """Return the TensorBoard writer; None without its logger or outside the main process."""
    if not trainer.is_global_zero:
        return None
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers else None


def logged_step(trainer: L.Trainer) -> int:
    """Return the step at which Lightning logs scalars now, for images next to them."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def model_and_data(
    trainer: L.Trainer, pl_module: L.LightningModule
) -> tuple[BoneAgeModule, BoneAgeDataModule]:
    """Return the project's own model and data module, which every run has."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(pl_module, BoneAgeModule)
    assert isinstance(data, BoneAgeDataModule)
    return pl_module, data


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

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Clear the previous fold: a test without a batch has no predictions."""
        self.table = pd.DataFrame()

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
            for column, values in task.columns(outputs[name]).items():
                if (shape := tuple(np.shape(values))) != index.shape:
                    raise FailedRun(
                        f"tasks.{name}: {column} has shape {shape} for {len(index)} "
                        "radiographs: columns() must give one value for each"
                    )
                columns[column] = _rounded(values) if isinstance(values, Tensor) else values
        self._batches.append((pd.DataFrame(columns, index=index), pairs))

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        model, data = model_and_data(trainer, pl_module)
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
        columns = [c for c in ("id", "patient", "sex", "age_years") if c in data.table]
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
