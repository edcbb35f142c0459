"""The LightningModule: one backbone, an optional sex input, and a dict of tasks."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

from boneage.data.dataset import Batch
from boneage.errors import UserError
from boneage.evaluation.metric_set import Better, MetricSet
from boneage.evaluation.metrics import register
from boneage.models.backbones import Backbone
from boneage.models.network import Network
from boneage.models.schedules import constant
from boneage.models.sex import SexInput
from boneage.models.weighting import FixedWeighting, Weighting
from boneage.tasks.base import Task, no_loss, scalar_loss


class Scores(Metric):
    """The logged metrics of a task over an epoch, in all processes that train together.

    Args:
        metrics: returns the metrics of the task.
    """

    full_state_update = False
    true: list[Tensor]
    predicted: list[Tensor]

    def __init__(self, metrics: Callable[[], MetricSet]) -> None:
        super().__init__()
        self.metrics = metrics
        self.add_state("true", [], dist_reduce_fx="cat")
        self.add_state("predicted", [], dist_reduce_fx="cat")

    @override
    def update(self, predicted: Tensor, true: Tensor) -> None:
        self.true.append(true)
        self.predicted.append(predicted)

    @override
    def compute(self) -> dict[str, float]:
        """Return the metrics, in the order of their names."""
        logged = self.metrics().only(lambda metric: metric.logged)
        true, predicted = (as_array(dim_zero_cat(v)) for v in (self.true, self.predicted))
        values: dict[str, np.ndarray] = {}
        for part, chosen in logged.parts(true):
            values |= part.values(true[None, chosen], predicted[None, chosen])
        return {name: values[name].item() for name in sorted(values)}


class BoneAgeModule(Network, L.LightningModule):
    """Train, validate and test every task of a run on shared features.

    A Trainer of your own fits it after `fit_tasks(data.fold_table("train"))`.

    Args:
        backbone: from images to features.
        sex: joins the sex to the features.
        tasks: by name, a callable that makes the task from `in_features`.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the per-step schedule from the optimizer and `total_steps`, which are
            infinite for a training without an end.
        weighting: makes what combines the losses from the `names` and `weights` of the tasks.
        mirror_test: average each test prediction with that of the mirrored radiograph.
        compile_backbone: compile the backbone with torch.compile.
        record: plain containers stored in every checkpoint (config, preprocessing, split).
    """

    def __init__(
        self,
        backbone: Backbone,
        sex: SexInput,
        tasks: Mapping[str, Callable[..., Task]],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] = constant,
        weighting: Callable[..., Weighting] = FixedWeighting,
        mirror_test: bool = False,
        compile_backbone: bool = False,
        record: dict[str, Any] | None = None,
    ) -> None:
        width = backbone.out_features + sex.out_features
        super().__init__(
            backbone.to(memory_format=torch.channels_last),
            sex,
            {name: make(in_features=width) for name, make in tasks.items()},
        )
        hidden = [name for name, task in self.tasks.items() if task.hides_sex]
        if hidden and sex.out_features:
            raise UserError(
                f"tasks.{hidden[0]} predicts the sex, which is also an input: add sex=none"
            )
        if compile_backbone:
            self.backbone.compile()
        self.weighting = weighting(
            names=list(self.tasks), weights=[task.weight for task in self.tasks.values()]
        )
        self.losses: dict[str, Tensor] = {}  # of the training step, until its backward pass
        self.scores = cast(
            Mapping[str, Scores],
            nn.ModuleDict({name: Scores(task.metrics) for name, task in self.tasks.items()}),
        )
        for name, task in self.tasks.items():
            register({f"{name}/{own}": m for own, m in task.metrics().by_name().items()})
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.mirror_test = mirror_test
        self.record = record or {}
        self.fitted = False  # whether the tasks have their statistics

    def fit_tasks(self, table: pd.DataFrame) -> None:
        """Fit tasks and sex input to radiographs of the training fold (`age_years`, `sex`)."""
        for task in self.tasks.values():
            task.fit(task.rows_with_target(table))
        self.sex.fit(table["sex"])
        self.fitted = True

    @override
    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.fitted = True
        return super().load_state_dict(*args, **kwargs)

    @override
    def on_fit_start(self) -> None:
        """Raise UserError if ages would be learned without their mean and deviation."""
        if not self.fitted:
            raise UserError(
                "the tasks lack the statistics of the training fold: call "
                "model.fit_tasks(data.fold_table('train')), after data.setup('fit')"
            )

    def monitorable(self) -> dict[str, Better]:
        """Return the losses and metrics that are logged in training: which direction is better."""
        losses = ["loss", *(f"{name}/loss" for name in self.tasks)]
        found: dict[str, Better] = {f"val/{loss}": "lower" for loss in losses}
        for name, task in self.tasks.items():
            logged = task.metrics().only(lambda metric: metric.logged).by_name()
            found |= {f"val/{name}/{own}": logged[own].better for own in sorted(logged)}
        return found | {f"train/{loss}": "lower" for loss in losses}

    def total_loss(self, outputs: dict[str, Tensor], batch: Batch, split: str) -> Tensor:
        """Return one loss from those of the tasks, and log each.

        In validation and test it is their sum with fixed weights, which can be compared over time.
        """
        losses, sizes = {}, {}
        for name, task in self.tasks.items():
            part, output = task.with_target(batch, outputs[name])
            sizes[name] = len(output)
            if sizes[name]:
                target = task.training_target(part) if split == "train" else task.encode(part)
                losses[name] = scalar_loss(name, task, output, target)
            else:
                losses[name] = no_loss(task, output)
        if split == "train":
            self.losses = losses
            total: Tensor = self.weighting(losses)
            factors = self.weighting.learned()
        else:
            total = torch.stack([self.tasks[name].weight * losses[name] for name in losses]).sum()
            factors = {}
        log = partial(self.log_dict, on_step=False, on_epoch=True, prog_bar=False, sync_dist=True)
        for name, loss in losses.items():
            log({f"{split}/{name}/loss": loss}, batch_size=sizes[name])
        weights = {f"{split}/{name}/weight": factor for name, factor in factors.items()}
        known = max(1, *sizes.values())  # 1: the mean of a fold without labels stays finite
        log(weights | {f"{split}/loss": total}, batch_size=known)
        return total

    @override
    def log(
        self, name: str, value: Any, *args: Any, batch_size: int | None = None, **options: Any
    ) -> None:
        """Log a value, and make the mean size over processes whole: Lightning rounds it down."""
        if batch_size is not None and self._trainer is not None:
            batch_size *= self.trainer.world_size
        super().log(name, value, *args, **options | {"batch_size": batch_size})

    @override
    def on_after_backward(self) -> None:
        self.losses = {}

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.total_loss(self(batch["image"], batch["sex"]), batch, "train")

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the decoded prediction of every task."""
        return self.evaluate(batch, "val")

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the decoded prediction of every task, in single precision, as in use."""
        with torch.autocast(self.device.type, enabled=False):
            return self.evaluate(batch, "test")

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the decoded prediction of every task, for a Trainer's `predict`."""
        return self.predict(batch["image"], batch["sex"])[0]

    def predict(self, image: Tensor, sex: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the decoded prediction of every task, as in test and use, and the features.

        The (B, F) features are of the radiographs, not of their mirror images.
        """
        outputs, features = self.network(self.to_input(image), sex)
        return self.with_mirror(self.decode(outputs), image, sex), features

    def with_mirror(
        self, predictions: dict[str, Tensor], image: Tensor, sex: Tensor
    ) -> dict[str, Tensor]:
        """Return predictions, averaged with those of the mirrored radiographs if `mirror_test`."""
        if not self.mirror_test:
            return predictions
        mirrored = self.decode(self(image.flip(-1), sex))
        return {
            name: torch.stack([predictions[name], mirrored[name]]).mean(0) for name in self.tasks
        }

    def decode(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert the raw outputs of every task to natural units."""
        return {name: task.decode(outputs[name]) for name, task in self.tasks.items()}

    def evaluate(self, batch: Batch, split: str) -> dict[str, Tensor]:
        """Update the metrics of every task, and return the decoded predictions."""
        outputs = self(batch["image"], batch["sex"])
        self.total_loss(outputs, batch, split)
        predictions = self.decode(outputs)
        if split == "test":
            predictions = self.with_mirror(predictions, batch["image"], batch["sex"])
        for name, task in self.tasks.items():
            part, predicted = task.with_target(batch, predictions[name])
            self.scores[name].update(predicted, task.encode(part))
        return predictions

    @override
    def on_validation_epoch_start(self) -> None:
        for scores in self.scores.values():
            scores.reset()

    on_test_epoch_start = on_validation_epoch_start

    @override
    def on_validation_epoch_end(self) -> None:
        self.log_metrics("val")

    @override
    def on_test_epoch_end(self) -> None:
        self.log_metrics("test")

    def log_metrics(self, split: str) -> None:
        """Log the metrics of every task."""
        for name, scores in self.scores.items():
            values = {f"{split}/{name}/{metric}": v for metric, v in scores.compute().items()}
            self.log_dict(values, sync_dist=True)

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(self.parameters())
        schedule = self.make_scheduler(
            optimizer, total_steps=self.trainer.estimated_stepping_batches
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"},
        }

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["boneage"] = self.record


def as_array(values: Tensor) -> np.ndarray:
    """Return true values or predictions as an array for metrics, in double precision."""
    values = values.detach().cpu()
    array: np.ndarray = (values.double() if values.is_floating_point() else values).numpy()
    return array


def all_finite(weights: Mapping[str, object]) -> bool:
    """Tell whether all floating-point tensors among named weights are finite."""
    return all(
        bool(values.isfinite().all())
        for values in weights.values()
        if isinstance(values, torch.Tensor) and values.is_floating_point()
    )
