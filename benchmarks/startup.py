"""Seconds from a command to its result: help, import, first training step.

python benchmarks/startup.py
"""

import os
import subprocess
import sys
import tempfile
import time

import lightning as L
import measure

COMMANDS = {
    "help": [sys.executable, "train.py", "--help"],
    "import": [sys.executable, "-c", "import boneage, sys; assert 'torch' not in sys.modules"],
    "boneage --help": [sys.executable, "-m", "boneage", "--help"],
}


class FirstStep(L.Callback):
    """Print the time at the end of the first training step."""

    def on_train_batch_end(self, *_: object) -> None:
        """Print the time and exit."""
        print("first step at", time.time(), flush=True)
        os._exit(0)


def first_step() -> float:
    """Return seconds from the command to the end of the first step, with a warm cache."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "train.py", "+callbacks.first_step._target_=startup.FirstStep",
            "trainer.accelerator=cpu", f"hydra.run.dir={folder}",
        ]  # fmt: skip
        paths = os.pathsep.join([str(measure.PROJECT / "benchmarks"), str(measure.PROJECT)])
        started = time.time()
        done = subprocess.run(
            command, cwd=measure.PROJECT, stdout=subprocess.PIPE, text=True, check=True,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    return float(done.stdout.split("first step at ")[1].split()[0]) - started


def one(variant: str) -> float:
    """Return the seconds of one variant."""
    if variant == "first step":
        return first_step()
    started = time.perf_counter()
    subprocess.run(COMMANDS[variant], cwd=measure.PROJECT, stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(one(sys.argv[1]))
    else:
        first_step()  # writes the phantom and its cache if missing
        variants = [[variant] for variant in (*COMMANDS, "first step")]
        measure.show("startup", "s", measure.in_turns(__file__, variants), {})
