"""Training images per second, compared with bare PyTorch loops and a stock pipeline.

python benchmarks/train_throughput.py                  on the phantom
python benchmarks/train_throughput.py ORIGINALS        also on a folder of original-size PNG files
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import measure

SIZE, BATCH, IMAGES, EPOCHS = 128, 64, 640, 3  # the first epoch warms up
WORKERS, STOCK_IMAGES = 2, 400  # of the stock pipeline: workers, images per epoch
BACKBONES = ("paper_cnn", "slim_resnet")
SETTING = ("augment=report", "data.sampling=shuffle", "sex=none", "callbacks=no_ema")


def project(backbone: str, *more: str) -> float:
    """Return the speed of training with this project: the median epoch after the first.

    The setting is fixed, so that later defaults are not compared with earlier measurements.
    """
    import pandas as pd

    from boneage.run.experiment import train

    with tempfile.TemporaryDirectory() as folder:
        train(
            measure.compose(
                f"backbone={backbone}", f"data.size={SIZE}", f"data.batch_size={BATCH}",
                f"run_dir={folder}", "report=false", f"trainer.max_epochs={EPOCHS}",
                "trainer.accelerator=cpu", *SETTING, *more,
            )
        )  # fmt: skip
        speeds = pd.read_csv(Path(folder) / "history.csv")["images_per_second"]
    return float(speeds.iloc[1:].median())


def bare(backbone: str, batches: Callable[[], Iterable], tuned: bool) -> float:
    """Return the speed of a loop over batches of (image, age), with the project's network."""
    import torch
    from hydra.utils import instantiate

    from boneage.run.process import keep_freed_memory

    if tuned:
        keep_freed_memory()
    cfg = measure.compose(f"backbone={backbone}")
    backbone, channels = instantiate(cfg.backbone), cfg.backbone.channels
    network = torch.nn.Sequential(backbone, torch.nn.Linear(backbone.out_features, 1)).train()
    if tuned:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=tuned or None)
    speeds = []
    for _ in range(EPOCHS if tuned else 2):
        started, seen = time.perf_counter(), 0
        for image, age in batches():
            x = image.float().div(255).expand(-1, channels, -1, -1)
            x = x.contiguous(memory_format=torch.channels_last) if tuned else x.contiguous()
            loss = torch.nn.functional.l1_loss(network(x)[:, 0], age)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            seen += len(age)
        speeds.append(seen / (time.perf_counter() - started))
    return statistics.median(speeds[1:])


def in_memory() -> Iterable:
    """Return batches in memory."""
    import torch

    torch.manual_seed(0)
    image = torch.randint(0, 256, (IMAGES, 1, SIZE, SIZE), dtype=torch.uint8)
    age = torch.rand(IMAGES)
    return list(zip(image.split(BATCH), age.split(BATCH), strict=True))


def stock(files: list[Path]) -> Iterable:
    """Return a typical loader, which decodes, resizes and augments each item."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    change = v2.Compose(
        [
            v2.Resize((SIZE, SIZE), antialias=True),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.2, 0.2),
        ]
    )

    class Files(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, i: int):  # noqa: ANN204
            return 255 * change(Image.open(files[i]).convert("L")), torch.rand(())

    return DataLoader(Files(), BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)


def one(variant: str, backbone: str, folder: str | None = None) -> float:
    """Return the speed of one variant."""
    if variant == "project":
        more = (f"data.root.n={round(IMAGES / 0.8)}",)
        return project(backbone, *more)
    if variant == "stock_pipeline":
        files = sorted(Path(str(folder)).rglob("*.png"))
        loader = stock((files * STOCK_IMAGES)[:STOCK_IMAGES])
        return bare(backbone, lambda: loader, tuned=False)
    batches = in_memory()
    return bare(backbone, lambda: batches, tuned=variant == "bare_tuned")


def main() -> None:
    """Measure all variants in alternation."""
    variants = [
        [variant, backbone]
        for backbone in BACKBONES
        for variant in ("project", "bare_tuned", "bare_stock")
    ]
    variants += [["stock_pipeline", b, sys.argv[1]] for b in BACKBONES if len(sys.argv) == 2]
    numbers = measure.in_turns(__file__, variants)
    median = {" ".join(k.split()[:2]): v for k, v in measure.medians(numbers).items()}
    ratios = {
        f"{backbone}: project / {other}": median[f"project {backbone}"]
        / median[f"{other} {backbone}"]
        for backbone in BACKBONES
        for other in ("bare_tuned", "bare_stock", "stock_pipeline")
        if f"{other} {backbone}" in median
    }
    measure.show("train_throughput", "images/s", numbers, ratios)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(one(*sys.argv[1:]))
    else:
        main()
