"""Training on one GPU, compared with a bare loop and with the limits of the hardware.

python benchmarks/gpu.py             all benchmarks, on the first CUDA device
python benchmarks/gpu.py whole       only the full training of the reference study, once
"""

import sys
import tempfile
import time
from collections.abc import Callable

import measure

SIZE, BATCHES = 128, (64, 128, 256, 512, 1024)
RADIOGRAPHS = 12_610  # 10,088 radiographs for training
STEPS = 50
DEVICE = "cuda"


def project(residence: str, precision: str, compiled: str, batch: str) -> float:
    """Return images per second of training the reference study's network, median after epoch 1."""
    import pandas as pd

    from boneage.run.experiment import train

    with tempfile.TemporaryDirectory() as folder:
        train(
            measure.compose(
                *REPORT, f"run_dir={folder}", f"data.residence={residence}",
                f"data.num_workers={0 if residence == 'device' else 8}", f"precision={precision}",
                f"compile={compiled}", f"data.batch_size={batch}", "trainer.max_epochs=4",
            )
        )  # fmt: skip
        speeds = pd.read_csv(f"{folder}/history.csv")["images_per_second"]
    return float(speeds.iloc[1:].median())


REPORT = (
    "experiment=paper_regression", "data=phantom", f"data.root.n={RADIOGRAPHS}",
    "data.root.size=128", "data.contrast=none", "trainer.accelerator=gpu", "report=false",
    "~callbacks.grad_cam",
)  # fmt: skip


def whole() -> float:
    """Return seconds of the reference study's training: 30 epochs, with validation."""
    from boneage.run.experiment import train

    with tempfile.TemporaryDirectory() as folder:
        options = ("data.residence=device", "data.batch_size=512", "precision=bf16-mixed")
        seconds = train(measure.compose(*REPORT, f"run_dir={folder}", *options))["seconds"]
    return float(seconds)


def step_of(precision: str, compiled: str, batch: str) -> tuple[Callable[[], object], object]:
    """Return a training step of the reference study's network on a fixed batch, and the network."""
    import torch
    from hydra.utils import instantiate

    backbone = instantiate(measure.compose("backbone=paper_cnn").backbone)
    network = torch.nn.Sequential(backbone, torch.nn.Linear(backbone.out_features, 1))
    network = network.to(DEVICE, memory_format=torch.channels_last)
    image = torch.randint(0, 256, (int(batch), 1, SIZE, SIZE), dtype=torch.uint8, device=DEVICE)
    age = torch.rand(int(batch), device=DEVICE)
    if compiled == "true":
        network.compile()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bf16-mixed"):
            x = image.float().div(255).expand(-1, 3, -1, -1)
            out = network(x.contiguous(memory_format=torch.channels_last))[:, 0]
            loss = torch.nn.functional.mse_loss(out.float(), age)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, network


def seconds_of(step: Callable[[], object], steps: int = STEPS) -> float:
    """Return seconds of one step, after 10 steps of warm-up."""
    import torch

    for _ in range(10):
        step()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / steps


def bare(precision: str, compiled: str, batch: str) -> float:
    """Return images per second of a bare loop."""
    return int(batch) / seconds_of(step_of(precision, compiled, batch)[0])


def floor(precision: str, batch: str) -> float:
    """Return the images per second possible at the measured bandwidth and matrix rate of this GPU.

    Bytes: the forward pass writes and reads each layer's output once. The backward pass reads it
    again, and writes and reads its gradient. The sum is five times its size.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    step, network = step_of(precision, "false", batch)
    moved = 0

    def count(_module: object, _inputs: object, output: torch.Tensor) -> None:
        nonlocal moved
        moved += 5 * output.nbytes

    layers = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with FlopCounterMode(display=False) as counter:
        step()
    for hook in hooks:
        hook.remove()
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    square = torch.rand(8192, 8192, device=DEVICE, dtype=dtype)
    rate = 2 * 8192**3 / seconds_of(lambda: square @ square)
    source = torch.empty(2**30, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    bandwidth = 2 * 2**30 / seconds_of(lambda: target.copy_(source))
    return int(batch) / max(moved / bandwidth, counter.get_total_flops() / rate)


def main() -> None:
    """Measure all variants in alternation, five times."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing measured")
    name = torch.cuda.get_device_name().replace(" ", "_")
    variants = []
    for batch in map(str, BATCHES):
        for precision in ("32-true", "bf16-mixed"):
            variants.append(["floor", precision, batch])
            for compiled in ("false", "true"):
                variants.append(["bare", precision, compiled, batch])
                for residence in ("host", "device"):
                    variants.append(["project", residence, precision, compiled, batch])
    numbers = measure.in_turns(__file__, variants)
    median = measure.medians(numbers)
    ratios = {
        f"{precision} 512: device residence / bare": median[f"project device {precision} false 512"]
        / median[f"bare {precision} false 512"]
        for precision in ("32-true", "bf16-mixed")
    }
    measure.show(f"gpu_{name}", "images/s", numbers, ratios)
    measure.show(f"gpu_whole_{name}", "s", measure.in_turns(__file__, [["whole"]]), {})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(globals()[sys.argv[1]](*sys.argv[2:]))
    else:
        main()
