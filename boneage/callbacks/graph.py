"""The graph of a model for TensorBoard."""

import logging
import warnings

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from boneage.models.module import BoneAgeModule

log = logging.getLogger(__name__)


class _Parts(nn.Module):
    """The modules that a radiograph passes, without what Lightning adds to them."""

    def __init__(self, model: BoneAgeModule) -> None:
        super().__init__()
        self.backbone, self.sex, self.tasks = model.backbone, model.sex, model.tasks

    def forward(self, image: Tensor, sex: Tensor) -> tuple[Tensor, ...]:
        features = self.sex(self.backbone(image), sex)
        return tuple(task(features) for task in self.tasks.values())


def add_graph(writer: SummaryWriter, model: BoneAgeModule, size: int) -> None:
    """Write the graph of a model; one that cannot be traced is left out, and said so.

    Args:
        writer: where to.
        model: the model, left in the mode it is in.
        size: side of the images in pixels.
    """
    image = torch.zeros(1, model.backbone.channels, size, size, device=model.device)
    sex = torch.zeros(1, dtype=torch.int64, device=model.device)
    training = model.training
    model.eval()
    try:
        with warnings.catch_warnings(), torch.no_grad(), torch.compiler.set_stance("force_eager"):
            warnings.simplefilter("ignore")  # of the tracer
            writer.add_graph(_Parts(model), (image, sex))
    except (RuntimeError, TypeError, ValueError) as error:
        log.warning("TensorBoard shows no graph of this model: %s", str(error).split("\n")[0])
    finally:
        model.train(training)
