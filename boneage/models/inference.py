"""Predictions and features of many radiographs, in batches."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from boneage.data.dataset import CachedImages
from boneage.models.module import BoneAgeModule, as_array

BATCH = 16
Predict = Callable[[np.ndarray], np.ndarray]


def batches(
    images: np.ndarray | CachedImages, sex: Tensor, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (B, 1, H, W) radiographs and (B,) sexes on a device."""
    starts = range(0, max(1, len(images)), BATCH)
    for start, sexes in zip(starts, torch.split(sex, BATCH), strict=True):
        image = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH]))
        yield image[:, None].to(device), sexes.to(device)


@torch.inference_mode()
def predictions_of(
    model: BoneAgeModule, images: np.ndarray | CachedImages, sex: Tensor
) -> tuple[pd.DataFrame, np.ndarray]:
    """Predict (n, H, W) radiographs.

    Returns:
        The columns of `predictions.csv` that all tasks fill, and the (n, F) features.
    """
    tables, features = [], []
    for image, sexes in batches(images, sex, model.device):
        predictions, batch_features = model.predict(image, sexes)
        columns: dict[str, object] = {}
        for name, predicted in predictions.items():
            columns |= model.tasks[name].columns(predicted.cpu())
        tables.append(pd.DataFrame(columns))
        features.append(batch_features.float().cpu().numpy())
    return pd.concat(tables, ignore_index=True), np.concatenate(features)


@torch.inference_mode()
def features_of(model: BoneAgeModule, images: np.ndarray | CachedImages) -> np.ndarray:
    """Return the (n, F) features of (n, H, W) radiographs from the backbone."""
    no_sex = torch.zeros(len(images), dtype=torch.int64)
    parts = [
        model.features(image).float().cpu().numpy()
        for image, _ in batches(images, no_sex, model.device)
    ]
    return np.concatenate(parts)


def predictor(
    model: BoneAgeModule, images: np.ndarray, sex: Tensor, task: str
) -> tuple[Predict, str]:
    """Return a function that predicts changed copies of radiographs, and the unit.

    Args:
        model: the model.
        images: (n, H, W) uint8 radiographs, unchanged.
        sex: (n,) int64, index into `SEXES`.
        task: name of the task.

    Returns:
        The function from (n, H, W) to (n,), and the task's unit. Of several numbers, such
        as the probabilities of stages, the one largest for the unchanged radiograph is predicted.
    """
    head = model.tasks[task]

    @torch.inference_mode()
    def decoded(images: np.ndarray) -> np.ndarray:
        parts = [
            as_array(head.decode(model(image, sexes)[task]))
            for image, sexes in batches(images, sex, model.device)
        ]
        return np.concatenate(parts)

    first = decoded(images)
    if first.ndim == 1:
        return decoded, head.unit
    largest = first.argmax(axis=1)
    return lambda images: decoded(images)[np.arange(len(images)), largest], head.unit
