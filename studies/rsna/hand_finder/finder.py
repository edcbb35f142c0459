"""Train the hand finder on the outlines that `outline.py` finds in films.

python studies/rsna/hand_finder/finder.py /path/to/rsna OUT.onnx [EPOCHS]

Only films of the training fold are used. Takes about 20 minutes on one CPU core.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from examples import Examples, draw, read_examples
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from boneage.data.hand import INPUT

BATCH, EPOCHS = 64, 36
RATE = 4e-3
ORIENTATION_WEIGHT = 0.05
WIDTHS = (8, 16, 24, 32)


def block(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with batch norm and ReLU."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class HandFinder(nn.Module):
    """A small U-Net (Ronneberger 2015): logits of hand and orientation of (B, 1, S, S) images.

    Returns:
        (B, 1, S, S) logits of each pixel, (B, 8) logits: rotations by 90 degrees, plus 4 if
        inverted.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.down = nn.ModuleList(
            [
                block(1, a, stride=2),
                nn.Sequential(block(a, b, stride=2), block(b, b)),
                nn.Sequential(block(b, c, stride=2), block(c, c)),
                nn.Sequential(block(c, d, stride=2), block(d, d), block(d, d)),
            ]
        )
        self.up = nn.ModuleList(
            nn.Sequential(block(deep + fine, fine, size=1), block(fine, fine))
            for deep, fine in ((d, c), (c, b), (b, a))
        )
        self.pixels = nn.Conv2d(a, 4, 3, padding=1)
        self.orientation = nn.Linear(d, 8)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = [image]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        deep = maps.pop()
        orientation = self.orientation(deep.mean((2, 3)))
        for stage in self.up:
            deep = stage(torch.cat([F.interpolate(deep, scale_factor=2), maps.pop()], 1))
        return F.pixel_shuffle(self.pixels(deep), 2), orientation


class Probabilities(nn.Module):
    """A finder that returns probabilities, as the package uses it."""

    def __init__(self, finder: nn.Module) -> None:
        super().__init__()
        self.finder = finder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        pixels, orientation = self.finder(image)
        return pixels.sigmoid(), orientation.softmax(1)


class Stream(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """An endless stream of batches, drawn in a worker process."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        rng = np.random.default_rng(7)
        while True:
            yield draw(self.examples, BATCH, INPUT, rng)


def train(examples: Examples, epochs: int) -> nn.Module:
    """Train a finder; return it with the moving average of its weights."""
    torch.manual_seed(0)
    finder = HandFinder().to(memory_format=torch.channels_last)
    steps = epochs * (len(examples.weights) // BATCH)
    optimizer = torch.optim.AdamW(finder.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.08)
    average = AveragedModel(finder, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
    batches = iter(DataLoader(Stream(examples), batch_size=None, num_workers=1))
    losses = []
    for step in range(1, steps + 1):
        image, mask, orientation = next(batches)
        pixels, predicted = finder(image.to(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(pixels, mask)
        losses.append(loss.item())
        optimizer.zero_grad()
        (loss + ORIENTATION_WEIGHT * F.cross_entropy(predicted, orientation)).backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(finder)
        if step % 100 == 0:
            print(f"step {step} of {steps}: loss {np.mean(losses[-100:]):.4f}", flush=True)
    return average.module


def main(root: Path, out: Path, epochs: int = EPOCHS) -> None:
    """Train and write."""
    finder = Probabilities(train(read_examples(root), epochs)).eval()
    example = torch.zeros(1, 1, INPUT, INPUT)
    names = {"input_names": ["picture"], "output_names": ["hand", "turn"]}
    torch.onnx.export(finder, (example,), out, dynamo=False, opset_version=17, **names)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
