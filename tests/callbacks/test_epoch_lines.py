"""What a run says while it goes on: a line an epoch, lines of decoding, the log beside it."""

import io
import re
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from lightning.pytorch.callbacks import Timer
from rich.console import Console
from rich.progress import Progress

from boneage.callbacks import progress
from boneage.callbacks.progress import EpochLines, TerminalBar
from boneage.callbacks.records import History
from boneage.data import parallel
from boneage.data.parallel import ProgressLines
from boneage.errors import UserError
from boneage.evaluation.numbers import duration, number
from boneage.models.module import BoneAgeModule
from boneage.run.experiment import train
from boneage.run.process import STDOUT


def epoch_lines(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "boneage.callbacks.progress"]


def test_a_line_an_epoch_has_the_numbers_of_the_history(configure, tmp_path, caplog):
    caplog.set_level("INFO")
    train(configure("trainer.max_epochs=4", "optimizer.lr=0.05"))
    lines, history = epoch_lines(caplog), pd.read_csv(tmp_path / "run/history.csv")
    assert len(lines) == len(history) == 4
    mae = history["val/age/mae_years"]
    for i, line in enumerate(lines):
        assert line.startswith(f"Epoch {i + 1} of 4: train loss {number(history['train/loss'][i])}")
        assert f", validation MAE {number(mae[i])} years (best " in line
        best = int(np.argmin(mae[: i + 1]))
        said = "best so far" if best == i else f"best {number(mae[best])} in epoch {best + 1}"
        assert f"({said})" in line
        assert re.search(r"\), \d+ s", line)
    assert "left" not in lines[-1]


def test_the_best_of_several_validations_in_an_epoch_counts(configure, tmp_path, caplog):
    caplog.set_level("INFO")
    each_batch = ("trainer.val_check_interval=1", "optimizer.lr=0.05")
    for seed in range(1, 4):  # in one of them the best is within an epoch
        run = configure("trainer.max_epochs=3", *each_batch, f"seed={seed}", run=f"{seed}")
        best = train(run)["best_validation"]
        line = epoch_lines(caplog)[-1]
        last = pd.read_csv(tmp_path / f"{seed}/history.csv")["val/age/mae_years"].iloc[-1]
        if last == pytest.approx(best):
            assert "(best so far)" in line
        else:
            assert f"(best {number(best)} " in line
    assert any("earlier in this epoch" in line for line in epoch_lines(caplog))
    ckpt = f"ckpt_path={tmp_path}/3/checkpoints/last.ckpt"
    resumed = train(configure("trainer.max_epochs=4", *each_batch, "seed=3", ckpt))
    assert re.search(
        rf"\(best {number(resumed['best_validation'])} |\(best so far\)", epoch_lines(caplog)[-1]
    )


def test_a_resumed_run_goes_on_counting_and_knows_the_best(configure, tmp_path, caplog):
    train(configure("trainer.max_epochs=2", "optimizer.lr=0", run="first"))
    last = tmp_path / "first/checkpoints/last.ckpt"
    caplog.set_level("INFO")
    caplog.clear()  # a test before this one may have lowered the level of a logger
    train(configure("trainer.max_epochs=3", "optimizer.lr=0", f"ckpt_path={last}"))
    (line,) = epoch_lines(caplog)
    assert line.startswith("Epoch 3 of 3: ")
    assert re.search(r"\(best \S+ in epoch [12]\)|\(best so far\)", line)
    assert len(pd.read_csv(tmp_path / "run/history.csv")) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        (["trainer.max_steps=4", "trainer.max_epochs=-1"], 2),  # of three batches an epoch
        (["trainer.max_epochs=3", "trainer.accumulate_grad_batches=2"], 3),  # of two steps an epoch
        (["trainer.fast_dev_run=true"], 1),
    ],
)
def test_epochs_are_counted_as_they_will_be(configure, caplog, options, epochs):
    caplog.set_level("INFO")
    train(configure("trainer.max_epochs=9", *options))
    assert [line.split(":")[0] for line in epoch_lines(caplog)] == [
        f"Epoch {i + 1} of {epochs}" for i in range(epochs)
    ]


@pytest.mark.parametrize(
    ("options", "epochs", "why"),
    [
        (["callbacks.early_stopping.patience=0"], 2, "val/age/mae_years has not improved for 1 "),
        (["+callbacks.early_stopping.stopping_threshold=99"], 1, "val/age/mae_years has reached "),
    ],
)
def test_the_reason_of_an_early_end_is_the_last_line(configure, caplog, options, epochs, why):
    caplog.set_level("INFO")
    constant = ("optimizer.lr=0", "augment=none", "trainer.max_epochs=9")  # no epoch is better
    train(configure(*constant, *options))
    *lines, last = epoch_lines(caplog)
    assert len(lines) == epochs
    assert last.startswith(f"Stopped after epoch {epochs} of 9: {why}")


@pytest.mark.parametrize(
    ("options", "said", "times"),
    [
        ([], [False] * 4, "epoch"),
        # the stop is decided before the line of the epoch
        (["trainer.val_check_interval=3"], [False, False, False, True], "validation"),
    ],
)
def test_patience_ends_a_training_only_after_the_least_epochs(
    configure, monkeypatch, caplog, options, said, times
):
    caplog.set_level("INFO")
    values = iter([3.0, 4.0, 2.0, 5.0])  # better in the last of the epochs that are demanded

    def log_next(model, split):
        if split == "val":
            model.log("val/age/mae_years", next(values))

    monkeypatch.setattr(BoneAgeModule, "log_metrics", log_next)
    least = ("trainer.min_epochs=3", "callbacks.early_stopping.patience=1")
    train(configure("trainer.max_epochs=9", *least, *options))
    *lines, last = epoch_lines(caplog)
    assert ["stops early" in line for line in lines] == said
    assert last == f"Stopped after epoch 4 of 9: val/age/mae_years has not improved for 1 {times}"


def test_the_end_of_the_time_is_the_last_line(configure, caplog):
    caplog.set_level("INFO")
    end = "trainer.max_time=00:00:00:01"
    train(configure("trainer.max_epochs=100000", end, "~callbacks.early_stopping"))
    *lines, last = epoch_lines(caplog)
    said = f"Stopped after epoch {len(lines)} of 100000: trainer.max_time has elapsed"
    assert last == said


@pytest.mark.parametrize("epochs", ["-1", "null"])
def test_a_training_without_an_end_stops_at_the_time(configure, caplog, epochs):
    caplog.set_level("INFO")
    endless = (f"trainer.max_epochs={epochs}", "trainer.max_time=00:00:00:01")
    train(configure(*endless, "scheduler=constant", "~callbacks.early_stopping"))
    *lines, last = epoch_lines(caplog)
    assert lines[0].startswith("Epoch 1: train loss ")
    assert last == f"Stopped after epoch {len(lines)}: trainer.max_time has elapsed"
    with pytest.raises(UserError, match=r"^scheduler=warmup_cosine needs an end: set train"):
        train(configure(*endless, run="cosine"))


def test_the_end_is_checked_before_radiographs_are_read(configure, tmp_path):
    with pytest.raises(UserError, match="needs an end"):
        train(configure("trainer.max_epochs=-1", f"data.root={tmp_path}/nowhere"))


def test_epochs_without_validation_do_not_repeat_an_old_one(configure, caplog):
    caplog.set_level("INFO")
    train(
        configure(
            "task=classification", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=2"
        )
    )
    first, second = epoch_lines(caplog)
    assert "validation" not in first
    assert ", validation loss " in second


def test_an_epoch_without_validation_has_none_in_the_history(configure, tmp_path):
    train(configure("trainer.max_epochs=6", "trainer.check_val_every_n_epoch=3"))
    history = pd.read_csv(tmp_path / "run/history.csv")
    validated = history.filter(like="val/").notna()
    assert len(validated.columns) > 5
    assert validated.all(axis=1).tolist() == [False, False, True] * 2
    assert validated.any(axis=1).tolist() == [False, False, True] * 2
    assert history.drop(columns=validated.columns).notna().all(axis=None)


def test_a_line_is_written_above_the_progress_bar():
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80)
    with Progress(console=console) as bar:
        bar.add_task("training", total=10)
        STDOUT.write("Epoch 1 of 10\n")
        STDOUT.flush()
    shown = written.getvalue()
    assert "Epoch 1 of 10" in shown
    assert shown.rindex("training") > shown.index("Epoch 1 of 10")


def test_the_progress_bar_is_for_terminals(monkeypatch):
    assert TerminalBar().is_disabled  # below pytest
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    bar = TerminalBar()
    assert bar.is_enabled
    bar._trainer = SimpleNamespace(max_epochs=20, sanity_checking=False)
    assert bar._get_train_description(0).strip() == "Epoch 1 of 20"
    bar._trainer.max_epochs = -1
    assert bar._get_train_description(4).strip() == "Epoch 5"


def test_decoding_says_every_tenth(monkeypatch, caplog):
    caplog.set_level("INFO")
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(parallel.time, "perf_counter", lambda: clock.now)
    lines = ProgressLines(11336, parallel.LINE)
    for _ in range(11336 // 32):
        clock.now += 0.8  # 40 images/s
        lines.advance(32)
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in said] == [f"Decoded {p} %" for p in range(10, 100, 10)]
    assert said[0] == "Decoded 10 %: 1,152 of 11,336 radiographs, 40 images/s, 255 s left"


def test_a_quick_decoding_says_little(monkeypatch, caplog):
    caplog.set_level("INFO")
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(parallel.time, "perf_counter", lambda: clock.now)
    lines = ProgressLines(500, parallel.LINE)
    for _ in range(16):
        clock.now += 0.05
        lines.advance(32)
    assert not caplog.records


def test_durations_as_people_say_them():
    told = {0.4: "0 s", 59.4: "59 s", 60: "1 min 0 s", 200: "3 min 20 s", 7500: "2 h 5 min"}
    assert {seconds: duration(seconds) for seconds in told} == told


@pytest.mark.parametrize(("mode", "best"), [("min", (0.2, 2)), ("max", (0.9, 1))])
def test_the_best_epoch_is_the_first_with_the_best_value(mode, best):
    lines = EpochLines(History(), "val/loss", mode)
    for epoch, value in enumerate([float("nan"), 0.9, 0.2, 0.9, 0.2, float("nan")]):
        lines._keep_best(value, epoch)
    assert (lines.state_dict()["value"], lines.state_dict()["epoch"]) == best


@pytest.mark.parametrize(("limit", "left"), [(None, 140.0), (50.0, 50.0)])
def test_the_time_left_is_that_of_the_steps_left_at_the_speed_since_the_resume(
    monkeypatch, limit, left
):
    """20 steps since step 10 took 40 s: the 70 to come take 140 s, unless a timer ends before."""
    now = 1000.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now))
    timers = [] if limit is None else [Timer(timedelta(seconds=limit))]
    trainer = SimpleNamespace(
        global_step=10, estimated_stepping_batches=100, callbacks=timers, callback_metrics={}
    )
    lines = EpochLines(History(), "val/loss", "min")
    lines.on_train_start(trainer, None)
    trainer.global_step, now = 30, 1040.0
    assert lines._seconds_left(trainer) == pytest.approx(left)
    trainer.estimated_stepping_batches, trainer.callbacks = float("inf"), []
    assert lines._seconds_left(trainer) is None
