"""Networks with random weights: controls of maps, normalised by the radiographs."""

import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from boneage.models.inference import batches
from boneage.models.module import BoneAgeModule


def with_random_weights(
    model: BoneAgeModule, images: np.ndarray, sex: Tensor, seed: int
) -> BoneAgeModule:
    """Return a copy of a model with random weights, normalised by the radiographs.

    What has no `reset_parameters`, like the layer scales of ConvNeXt, keeps its weights.

    Args:
        model: the model.
        images: (n, H, W) uint8 radiographs.
        sex: (n,) int64, index into `SEXES`.
        seed: of the weights.
    """
    with torch.inference_mode(mode=False), torch.random.fork_rng(devices=[]):
        random = copy.deepcopy(model).eval()
        torch.manual_seed(seed)
        for layer in random.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[operator]
        normalise(random, random.modules(), images, sex)
    return random


def normalise(
    model: BoneAgeModule, layers: Iterable[nn.Module], images: np.ndarray, sex: Tensor
) -> None:
    """Set the statistics of new batch normalisation layers to those of some of the radiographs.

    With the initial ones, most channels are always zero in some networks, and their maps are empty
    or lie anywhere.

    Args:
        model: the model, in evaluation mode.
        layers: its new layers, of any kind.
        images: (n, H, W) uint8 radiographs.
        sex: (n,) int64, index into `SEXES`.
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
