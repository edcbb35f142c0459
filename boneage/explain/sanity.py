"""Checks of maps: dependence on the weights, and effect of marked pixels on the prediction.

Networks with random weights are also a control of what maps show.
"""

import copy
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from boneage.evaluation.figures.style import BLUE, GREY, ORANGE
from boneage.evaluation.intervals import Metrics, Results, with_interval
from boneage.models.inference import Predict, batches
from boneage.models.module import BoneAgeModule

DELETION_STEPS = 11  # shares of removed pixels: 0, 10, ... 100 %
SEED = 0  # of new weights and of random patches
BLUR = 1 / 8  # of the side: blur of the image that replaces removed pixels
Maps = Callable[[BoneAgeModule], np.ndarray]


def with_random_weights(
    model: BoneAgeModule, images: np.ndarray, sex: Tensor, seed: int
) -> BoneAgeModule:
    """Return a copy of a model with random weights, normalised by the radiographs.

    What has no `reset_parameters`, like the layer scales of ConvNeXt, keeps its weights. Images and
    sexes are as of `localisation.Sample`.
    """
    with torch.inference_mode(mode=False), torch.random.fork_rng(devices=[]):
        random = copy.deepcopy(model).eval()
        torch.manual_seed(seed)
        for layer in random.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[operator]
        _normalise(random, random.modules(), images, sex)
    return random


def _normalise(
    model: BoneAgeModule, layers: Iterable[nn.Module], images: np.ndarray, sex: Tensor
) -> None:
    """Set the statistics of batch norms among new layers to those of some of the radiographs.

    With the initial ones, most channels are always zero in some networks, and their maps are empty
    or lie anywhere. The model must be in evaluation mode.
    """
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    image, sexes = next(batches(images, sex, model.device))
    with torch.no_grad():
        model(torch.cat([image, image.flip(-1)]), sexes.repeat(2))
    for norm in norms:
        norm.eval()


def randomisation(
    model: BoneAgeModule, task: str, maps: Maps, images: np.ndarray, sex: Tensor
) -> pd.DataFrame:
    """Reset layers at random from the head down, and measure the change of the maps.

    The model parameter randomisation test of Adebayo et al. 2018: maps that do not change do not
    depend on what the network has learned. Reset batch normalisation takes the statistics of the
    radiographs.

    Args:
        model: the trained model in evaluation mode, not modified.
        task: the task whose head is reset first.
        maps: from a model to (n, H, W) maps of the radiographs.
        images: (n, H, W) uint8 radiographs.
        sex: (n,) int64, index into `SEXES`.

    Returns:
        A row per radiograph and step: `layers` (number reset, 0 is the trained model), `image`,
        `spearman` and `ssim` to the map of the trained model.
    """
    original = maps(model)
    changed = copy.deepcopy(model)
    parts = (changed.tasks[task], changed.sex, changed.backbone)
    layers = [layer for part in parts for layer in reversed([*part.modules()])]
    order = [layer for layer in layers if hasattr(layer, "reset_parameters")]
    rows = _similar(original, original, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for count, layer in enumerate(order, start=1):
            layer.reset_parameters()  # type: ignore[operator]
            if isinstance(layer, nn.Conv2d | nn.Linear):
                _normalise(changed, order[:count], images, sex)
                rows += _similar(original, maps(changed), count)
    return pd.DataFrame(rows)


def deletion(images: np.ndarray, maps: np.ndarray, predict: Predict) -> pd.DataFrame:
    """Remove pixels, the most strongly marked first, and measure the change of the prediction.

    Deletion and insertion of Petsiuk et al. 2018 (RISE): removed pixels are replaced by a blurred
    image; insertion restores the marked pixels first. The control is random patches of the same
    area: a faithful map changes the prediction faster.

    Args:
        images: (n, H, W) uint8.
        maps: (n, H, W) signed maps; strong values of either sign count as marked.
        predict: from images to (n,) predictions.

    Returns:
        A row per radiograph, order ("marked" or "random") and share: `image`, `order`, `share`,
        `deletion` and `insertion`, the absolute change from the unchanged radiograph.
    """
    side = images.shape[-1]
    rng = np.random.default_rng(SEED)
    blurred = np.stack([cv2.blur(image, (max(3, round(BLUR * side)),) * 2) for image in images])
    patches = rng.random((len(images), 8, 8)).astype(np.float32)
    random = np.stack(
        [cv2.resize(p, (side, side), interpolation=cv2.INTER_NEAREST) for p in patches]
    )
    unchanged = predict(images)
    parts = []
    for name, marks in (("marked", np.abs(maps)), ("random", random)):
        ranks = marks.reshape(len(marks), -1).argsort(axis=1).argsort(axis=1).reshape(marks.shape)
        place = 1 - (ranks + 1) / ranks[0].size  # 0 for the most marked pixel
        for share in np.linspace(0, 1, DELETION_STEPS):
            chosen = place < share
            deleted = np.abs(predict(np.where(chosen, blurred, images)) - unchanged)
            inserted = np.abs(predict(np.where(chosen, images, blurred)) - unchanged)
            what = {"image": range(len(images)), "order": name, "share": share}
            parts.append(pd.DataFrame({**what, "deletion": deleted, "insertion": inserted}))
    return pd.concat(parts, ignore_index=True)


def mean_distances(curves: pd.DataFrame, patients: np.ndarray | None = None) -> Results:
    """Return how far the curves of marked and random pixels are apart, with intervals.

    The mean over the shares of pixels, marked minus random, of the mean over the radiographs.

    Args:
        curves: from `deletion`.
        patients: (n,) numbers of the patients of all radiographs, as for `with_interval`.

    Returns:
        `deletion` and `insertion`, in units of the prediction. A `deletion` above 0: removing the
        marked pixels changes it more than removing random ones. An `insertion` below 0: restoring
        them restores it sooner.
    """
    names = ["deletion", "insertion"]
    mean = curves.groupby(["image", "order"])[names].mean().unstack("order")
    columns = [(mean[name, "marked"] - mean[name, "random"]).to_numpy(float) for name in names]

    def means(*columns: np.ndarray) -> Metrics:
        return {name: own.mean(axis=-1) for name, own in zip(names, columns, strict=True)}

    return with_interval(means, *columns, patients=patients, differences=names)


def _similar(original: np.ndarray, maps: np.ndarray, layers: int) -> list[dict[str, float]]:
    """Return Spearman correlation and SSIM of each map with its original, both scaled to one."""
    rows = []
    for i, (one, other) in enumerate(zip(original, maps, strict=True)):
        pair = [torch.from_numpy(m / max(np.abs(m).max(), 1e-12))[None, None] for m in (one, other)]
        constant = np.ptp(other) == 0 or np.ptp(one) == 0
        rank = np.nan if constant else spearmanr(one.ravel(), other.ravel()).statistic
        similarity = torch.as_tensor(ssim(pair[0], pair[1], data_range=2.0)).item()
        rows.append({"layers": layers, "image": i, "spearman": float(rank), "ssim": similarity})
    return rows


def sanity_figure(randomised: pd.DataFrame, curves: pd.DataFrame, unit: str) -> Figure:
    """Draw the results of `randomisation` and of `deletion`, whose predictions have a unit."""
    figure = Figure(figsize=(7.6, 2.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    by_layer = randomised.groupby("layers")[["spearman", "ssim"]].median()
    for name, label, color in (("spearman", "Spearman", BLUE), ("ssim", "SSIM", ORANGE)):
        left.plot(by_layer.index, by_layer[name], marker=".", color=color, label=label)
    left.set(
        xlabel="layers reset, from the head down", ylabel="similarity to the\ntrained map (median)"
    )
    left.legend()
    for axes, what, title in (
        (middle, "deletion", "pixels removed"),
        (right, "insertion", "pixels restored"),
    ):
        for order, color, style in (("marked", BLUE, "-"), ("random", GREY, "--")):
            mean = curves[curves["order"] == order].groupby("share")[what].mean()
            axes.plot(100 * mean.index, mean, style, color=color, label=f"{order} first")
        axes.set(xlabel=f"{title} (%)", ylabel=f"change of the\nprediction ({unit})")
    middle.legend()
    return figure
