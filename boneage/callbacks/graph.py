"""The graph of a model for TensorBoard."""

import copy
import logging
import warnings

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from boneage.models.module import BoneAgeModule

log = logging.getLogger(__name__)


class Network(nn.Module):
    """What a radiograph passes, without what Lightning adds to it.

    Args:
        model: the model; the parts stay shared with it.
    """

    def __init__(self, model: BoneAgeModule) -> None:
        super().__init__()
        self.backbone = copy.copy(model.backbone)  # a copy is not compiled: tracing needs that
        self.to_input, self.sex, self.tasks = model.to_input, model.sex, model.tasks

    def forward(self, image: Tensor, sex: Tensor) -> dict[str, Tensor]:
        features = self.sex(self.backbone(self.to_input(image)), sex)
        return {name: task(features) for name, task in self.tasks.items()}


def add_graph(writer: SummaryWriter, model: BoneAgeModule, size: int) -> None:
    """Write the graph of a model; one that cannot be traced is left out, and said so.

    Args:
        writer: where to.
        model: the model, left in the mode it is in.
        size: side of the images in pixels.
    """
    image = torch.zeros(1, 1, size, size, dtype=torch.uint8, device=model.device)
    example = image, torch.zeros(1, dtype=torch.int64, device=model.device)
    training = model.training
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer
            network = Network(model).eval()
            # add_graph itself would trace three times over, and print what goes wrong
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                network, example, strict=False, check_trace=False
            )
            writer.add_graph(traced, example)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        log.warning("TensorBoard shows no graph of this model: %s", str(error).split("\n")[0])
    finally:
        model.train(training)
