"""Runs that are killed, interrupted, damaged or repeated: nothing is lost, no number changes."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, compose_config, server
from omegaconf import OmegaConf

from boneage.callbacks.checkpoint import EpochSeed
from boneage.data import atomic
from boneage.errors import UserError
from boneage.run.experiment import train
from boneage.run.resume import newest_checkpoint

HARD = (
    "task=multitask", "trainer.max_epochs=6", "callbacks=default", "data.sampling=balanced",
    "augment=geometric", "scheduler=warmup_cosine", "callbacks.early_stopping.patience=2",
)  # fmt: skip
LONG = "trainer.max_epochs=15"  # half a second or so


def run_in_process(config):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method("fork", force=True)  # workers that see when this process dies
    train(OmegaConf.create(config))


def start(cfg):
    """Start a run in a process of its own, which has everything imported already."""
    process = server.Process(target=run_in_process, args=(OmegaConf.to_container(cfg),))
    process.start()
    return process


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def assert_same_run(one, other):
    for name in ("best", "last"):
        left, right = (
            torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True) for run in (one, other)
        )
        assert left["epoch"] == right["epoch"]
        for key, value in left["state_dict"].items():
            assert torch.equal(value, right["state_dict"][key]), key
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (one, other)]
    assert metrics[0]["test"] == metrics[1]["test"]
    assert metrics[0]["epochs"] == metrics[1]["epochs"]
    assert (one / "predictions.csv").read_text() == (other / "predictions.csv").read_text()
    curves = [
        pd.read_csv(run / "history.csv").drop(columns="images_per_second") for run in (one, other)
    ]
    pd.testing.assert_frame_equal(*curves)


def when_written(file):
    return file.stat().st_mtime_ns if file.exists() else 0


def killed_until_done(configure, folder, kills, workers):
    rng = np.random.default_rng(workers)
    cfg = configure(*HARD, "resume=auto", f"data.num_workers={workers}", run=folder.name)
    last = folder / "checkpoints/last.ckpt"
    for _ in range(kills):
        process = start(cfg)
        before = when_written(last)
        wait_for(lambda before=before: when_written(last) > before, process)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.join()
    process = start(cfg)
    process.join()
    assert process.exitcode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "workers"), [(3, 0), (1, 2), pytest.param(20, 0, marks=pytest.mark.soak)]
)
def test_killed_runs_end_as_if_nothing_had_happened(configure, trained, tmp_path, kills, workers):
    killed_until_done(configure, tmp_path / "killed", kills, workers)
    assert_same_run(trained(*HARD), tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "end"),  # three are an epoch; validated after every second
    [
        pytest.param(2, (), marks=pytest.mark.soak),
        (3, ()),
        (5, ()),
        pytest.param(8, (), marks=pytest.mark.soak),
        pytest.param(5, ("trainer.max_steps=100",), marks=pytest.mark.soak),
        (7, ("trainer.max_steps=13", "trainer.max_epochs=-1")),
    ],
)
def test_a_run_that_is_validated_within_epochs_is_resumed_from_the_last_complete_one(
    configure, trained, tmp_path, monkeypatch, step, end
):
    class Stop(EpochSeed):
        """End the training with an error before a step."""

        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == step:
                raise KeyboardInterrupt

    interval = ("trainer.val_check_interval=2", "trainer.check_val_every_n_epoch=null")
    straight = trained(*HARD, *interval, *end)
    cut = configure(*HARD, *interval, *end, "resume=auto", run="cut")
    with monkeypatch.context() as patch:
        patch.setattr("boneage.run.experiment.EpochSeed", Stop)
        with pytest.raises(SystemExit):
            train(cut)
    assert (tmp_path / "cut/checkpoints/best.ckpt").exists()
    train(cut)
    assert_same_run(straight, tmp_path / "cut")


def test_the_middle_of_an_epoch_is_not_resumed(configure, tmp_path):
    train(configure("trainer.max_steps=4", "trainer.max_epochs=2", run="first"))  # of six
    more = (f"ckpt_path={tmp_path}/first", "trainer.max_epochs=3")
    for again in ("resume=null", "resume=auto"):
        with pytest.raises(UserError, match=r"first cannot be resumed.* within an epoch.*start_f"):
            train(configure(*more, again))


@pytest.mark.parametrize("named", ["", "/checkpoints/best.ckpt"])
def test_a_longer_run_that_is_interrupted_in_its_first_epoch_is_resumed(
    configure, copied, tmp_path, monkeypatch, named
):
    class Stop(EpochSeed):
        """End the training with an error before its first step."""

        def on_train_batch_start(self, *_):
            raise KeyboardInterrupt

    copied(run="first")
    longer = ("trainer.max_epochs=2", f"ckpt_path={tmp_path}/first{named}")
    with monkeypatch.context() as patch:
        patch.setattr("boneage.run.experiment.EpochSeed", Stop)
        with pytest.raises(SystemExit):
            train(configure(*longer, run="cut"))
    assert (tmp_path / "cut/checkpoints/best.ckpt").exists()  # a copy
    resumed = train(configure(*longer, "resume=auto", run="cut"))
    assert resumed["epochs"] == 2
    assert resumed["test"] == train(configure(*longer, run="straight"))["test"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_runs_are_marked_and_go_on(configure, trained, tmp_path, number, code):
    folder = tmp_path / "cut"
    cfg = configure(LONG, "resume=auto", run="cut")
    process = start(cfg)
    wait_for((folder / "checkpoints/last.ckpt").exists, process)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == code
    assert not (folder / "metrics.json").exists()
    marked = (folder / "error.txt").read_text()
    assert marked.startswith(f"interrupted by {number.name}: resume from the last finished epoch")
    assert f"hydra.run.dir={folder} resume=auto" in marked
    assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["epoch"] < 14
    train(cfg)
    assert not (folder / "error.txt").exists()
    assert_same_run(trained(LONG), folder)


@pytest.mark.slow
def test_a_full_disk_stops_a_run_that_goes_on_later(configure, trained, tmp_path):
    folder = tmp_path / "full"
    cfg = configure(LONG, "resume=auto", run="full")
    process = start(cfg)
    wait_for((folder / "checkpoints/last.ckpt").exists, process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    process.join()
    assert process.exitcode == 1
    stopped = (folder / "error.txt").read_text()
    assert "File too large; when this is fixed: resume from the last finished epoch" in stopped
    assert not (folder / "metrics.json").exists()
    train(cfg)
    assert not (folder / "error.txt").exists()
    assert_same_run(trained(LONG), folder)


def test_a_finished_run_is_not_repeated(configure, copied, tmp_path, caplog):
    first = json.loads((copied() / "metrics.json").read_text())
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")}
    with caplog.at_level("INFO"):
        assert train(configure("resume=auto", run="run")) == first
    assert "is finished" in caplog.text
    with pytest.raises(
        UserError, match=r"run contains a run already: .*resume=auto.*hydra\.run\.dir="
    ):
        train(configure(run="run"))
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")} == before


def test_damaged_results_are_one_line(configure, tmp_path):
    (tmp_path / "run").mkdir()
    for content in ('{"test": ', "[]"):
        (tmp_path / "run/metrics.json").write_text(content)
        with pytest.raises(UserError, match=r"run/metrics\.json is damaged: "):
            train(configure("resume=auto"))


@pytest.mark.slow
def test_a_truncated_checkpoint_is_passed_over(configure, tmp_path, caplog):
    folder = tmp_path / "run"
    whole = train(configure("trainer.max_epochs=2", run="run"))
    (folder / "metrics.json").unlink()
    last = folder / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])  # the best is the first epoch's or the second's
    again = train(configure("trainer.max_epochs=2", "resume=auto", run="run"))
    assert f"Skipped: checkpoint {last} cannot be loaded" in caplog.text
    assert again["test"] == whole["test"]
    for file in folder.glob("checkpoints/*"):
        file.write_bytes(b"")
    (folder / "metrics.json").unlink()
    (folder / "error.txt").write_text("interrupted")
    anew = train(configure("trainer.max_epochs=2", "resume=auto", run="run"))
    assert anew["test"] == whole["test"]
    assert not (folder / "error.txt").exists()


@pytest.mark.slow
def test_another_seed_gives_other_numbers(configure, trained):
    first = json.loads((trained() / "metrics.json").read_text())
    assert first["test"] != train(configure("seed=2", run="second"))["test"]
    assert first["test"] == train(configure("seed=1", run="again"))["test"]


def test_resume_takes_no_other_word(configure):
    with pytest.raises(UserError, match="resume='always' is not valid"):
        train(configure("resume=always"))


@pytest.fixture(scope="module")
def started(phantom_root, trained, tmp_path_factory):
    """A finished run, and one that lacks its results."""
    folder = tmp_path_factory.mktemp("started")
    options = [*TINY, "data=rsna", f"data.root={phantom_root}"]
    shutil.copytree(trained(), folder / "finished")
    shutil.copytree(folder / "finished", folder / "unfinished")
    (folder / "unfinished/metrics.json").unlink()
    return [[*options, f"run_dir={folder}/{name}", "resume=auto"] for name in
            ("finished", "unfinished")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("seed=2", "seed"),
        ("optimizer.lr=0.5", r"optimizer\.lr"),
        ("trainer.max_epochs=9", r"trainer\.max_epochs \(was 1\)"),
        ("trainer.gradient_clip_val=0.1", r"trainer\.gradient_clip_val"),
        ("precision=bf16-mixed", "precision"),
        ("callbacks=default", r"callbacks\.ema"),
        ("+optimizer.amsgrad=true", r"optimizer\.amsgrad"),
        ("mirror_test=true", "mirror_test"),
        ("monitor=val/age/rmse_years", "monitor"),
        ("trainer.devices=2", r"trainer\.devices"),
    ],
)
def test_a_run_is_not_resumed_with_other_options(started, change, named):
    for options in started:
        said = (
            f"finished run with other options: .*{named}.* \\(start_from= this one starts from its"
        )
        with pytest.raises(UserError, match=said) as refused:
            train(compose_config(*options, change))
        assert ("ckpt_path= continues it" in str(refused.value)) == ("max_epochs" in change)


@pytest.mark.slow
def test_options_that_change_nothing_may_differ(started):
    results = []
    for options in started:
        for changes in (
            ("data.num_workers=1", "trainer.log_every_n_steps=3"),
            ("trainer.strategy=ddp", "trainer.profiler=simple"),
        ):
            results.append(train(compose_config(*options, *changes))["test"])
    assert results == [results[0]] * 4


def test_a_finished_test_is_not_repeated(configure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(configure("seed=3", "data.batch_size=4", run="one"))
    shutil.copytree("one", "two")
    command = ("train=false", f"ckpt_path={tmp_path}/one", "data.size=64", "resume=auto")
    first = train(configure(*command, run="tested"))
    monkeypatch.setattr("boneage.run.experiment._prepare", None)  # nothing is tested again
    assert train(configure(*command, run="tested")) == first
    same = ("ckpt_path=one/checkpoints/best.ckpt", "optimizer.lr=0.5", "data.batch_size=2")
    assert train(configure(*command, *same, run="tested")) == first
    for change, was in (
        ("ckpt_path=two", f"{tmp_path}/one/checkpoints/best.ckpt"),
        ("ckpt_path=one/checkpoints/last.ckpt", f"{tmp_path}/one/checkpoints/best.ckpt"),
        (f"data.root={tmp_path}/other", first["options"]["data.root"]),
        ("data.test=all", "auto"),
        ("data.split_file=one/split.csv", None),
        ("mirror_test=true", False),
        ("trainer.limit_test_batches=1", None),
    ):
        name = change.partition("=")[0]
        said = rf"tested contains a finished run with other options: {name} \(was {was}\); "
        with pytest.raises(UserError, match=said):
            train(configure(*command, change, run="tested"))


def test_a_training_is_not_taken_for_a_test(configure, copied, tmp_path):
    copied(run="one")
    ckpt = f"ckpt_path={tmp_path}/one"
    train(configure("train=false", ckpt, run="tested"))
    with pytest.raises(UserError, match=r"finished run with other options: train \(was True\); "):
        train(configure("train=false", ckpt, "resume=auto", run="one"))
    with pytest.raises(UserError, match=r"finished run with other options: train \(was False\); "):
        train(configure("resume=auto", run="tested"))
    (tmp_path / "one/metrics.json").unlink()
    with pytest.raises(UserError, match="one contains an unfinished training: choose another"):
        train(configure("train=false", ckpt, "resume=auto", run="one"))


def test_a_damaged_best_checkpoint_is_moved_aside(configure, tmp_path, caplog):
    first = train(configure())
    run = tmp_path / "run"
    (run / "metrics.json").unlink()
    best = run / "checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[:9000])
    assert train(configure("resume=auto"))["test"] == first["test"]  # the last is as good
    assert "Skipped" in caplog.text
    assert (run / "checkpoints/best.damaged").exists()
    assert (run / "metrics.json").exists()


def test_a_damaged_checkpoint_takes_the_place_of_an_earlier_one(configure, tmp_path, monkeypatch):
    """Renaming replaces no file of Windows."""

    def rename(path, target):
        raise FileExistsError(17, "already exists", str(path), None, str(target))

    last = tmp_path / "run/checkpoints/last.ckpt"
    last.parent.mkdir(parents=True)
    last.write_bytes(b"PK\3\4 and no more")
    last.with_suffix(".damaged").write_bytes(b"earlier")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        assert newest_checkpoint(tmp_path / "run", configure("resume=auto")) is None
    assert last.with_suffix(".damaged").read_bytes() == b"PK\3\4 and no more"


def test_a_checkpoint_that_is_not_damaged_stays(configure, copied, tmp_path, monkeypatch):
    copied()
    (tmp_path / "run/metrics.json").unlink()
    last = tmp_path / "run/checkpoints/last.ckpt"
    with monkeypatch.context() as patch:
        opened = Path.open

        def of_a_lost_disk(path, *args, **kwargs):
            if path == last:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
            return opened(path, *args, **kwargs)

        patch.setattr(Path, "open", of_a_lost_disk)
        with pytest.raises(UserError, match=r"last\.ckpt cannot be loaded: Stale file handle"):
            train(configure("resume=auto"))
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["boneage"]["preprocessing"]["crop"] = "hand"
    checkpoint["boneage"]["preprocessing_version"] = 1
    torch.save(checkpoint, last)
    with pytest.raises(UserError, match=r"last\.ckpt cannot be used: .* crops hands differently"):
        train(configure("resume=auto"))
    assert last.exists()


@pytest.mark.slow
def test_a_folder_holds_one_run_at_a_time(configure, tmp_path, monkeypatch):
    monkeypatch.setattr("boneage.run.process.LOADERS_END_SECONDS", 0)
    folder = tmp_path / "run"
    process = start(configure("trainer.max_epochs=100", "resume=auto"))
    wait_for((folder / "split.csv").exists, process)
    with pytest.raises(UserError, match=f"^another run is writing into {folder}: wait"):
        train(configure("resume=auto"))
    process.kill()
    process.join()


def test_a_run_that_ended_while_another_command_waited_is_kept(configure, tmp_path, monkeypatch):
    """The folder was free when the second command came, and held a run when it got the lock."""
    folder = tmp_path / "run"
    folder.mkdir()
    lock = atomic.FileLock

    class Slow(lock):
        def acquire(self, *args, **kwargs):
            (folder / "metrics.json").write_text("{}")
            return super().acquire(*args, **kwargs)

    monkeypatch.setattr(atomic, "FileLock", Slow)
    with pytest.raises(UserError, match="contains a run already: resume it with resume=auto"):
        train(configure())
    assert sorted(file.name for file in folder.iterdir()) == ["metrics.json"]
