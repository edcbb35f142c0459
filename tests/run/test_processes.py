"""Two processes that train together: what each sees, and that they test as one does."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, call
from hydra.types import RunMode
from hydra.utils import instantiate

from boneage.callbacks.checkpoint import EpochSeed
from boneage.data.sampler import EpochSampler, RankBatches
from boneage.errors import UserError
from boneage.run.experiment import train
from boneage.run.fit import check_test_batches
from boneage.run.process import check_strategy


@pytest.mark.parametrize("n", [5, 128, 129, 130, 1000])
@pytest.mark.parametrize("processes", [2, 3])
def test_no_radiograph_twice_and_none_left_out(n, processes):
    sampler = EpochSampler(n, 0, lambda: 3)
    ranks = [list(RankBatches(sampler, 16, rank, processes)) for rank in range(processes)]
    steps = zip(*ranks, strict=True)
    together = [pair for step in steps for batch in step for pair in batch]
    assert together == list(sampler)  # step by step as one process
    assert sorted(position for _, position in together) == list(range(n))
    assert len({len(batches) for batches in ranks}) == 1  # each step waits for all
    assert len(ranks[0]) == len(RankBatches(sampler, 16, 0, processes))
    sizes = [len(batch) for batches in ranks for batch in batches]
    assert max(sizes) <= 16
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("n", "batch_size"), [(1, 16), (2, 16), (5, 1)])
def test_processes_without_radiographs_are_refused(n, batch_size):
    message = (
        rf"^the training fold has {n} radiographs?, too few for 3 processes and data\.batch_size"
    )
    with pytest.raises(UserError, match=message):
        RankBatches(EpochSampler(n, 0, lambda: 0), batch_size, 2, 3)
    RankBatches(EpochSampler(6, 0, lambda: 0), batch_size, 2, 3)


@pytest.mark.parametrize(("moved", "named"), [("val", "validation"), ("test", "test")])
def test_a_fold_of_fewer_radiographs_than_processes_is_refused(configure, moved, named):
    """Lightning raises RuntimeError in a process without a batch."""
    data = instantiate(configure().data)
    data.setup("fit")
    chosen = data.table.index[data.table["fold"] == "train"][:4]
    data.table.loc[chosen, "fold"] = ["val", "test", "val", "test"]
    for fold in ("val", "test"):
        size = 2 if fold == moved else 3
        data.table.loc[data.fold_table(fold).index[size:], "fold"] = "train"
    for processes in (2, 3):
        for rank in range(processes):
            device = SimpleNamespace(root_device=torch.device("cpu"))
            data.trainer = SimpleNamespace(
                global_rank=rank, world_size=processes, strategy=device, overfit_batches=0
            )
            if processes == 2:
                assert len(data.val_dataloader()) == len(data.test_dataloader()) == 1
                continue
            message = rf"^the {named} fold has 2 radiographs, too few for 3 processes: use fewer"
            with pytest.raises(UserError, match=message):  # before training
                data.val_dataloader()


def test_balanced_draws_are_those_of_one_process():
    sampler = EpochSampler(100, 0, lambda: 0, shares=np.array([1] * 90 + [9] * 10))
    drawn = [p for rank in (0, 1) for batch in RankBatches(sampler, 16, rank, 2) for p in batch]
    assert sorted(drawn) == sorted(sampler)


@pytest.mark.slow
def test_two_processes_train_and_test_like_one(configure, phantom_root, tmp_path):
    data = ["task=multitask", "data.fold=1"]
    both = tmp_path / "both"
    trained = call(
        *TINY, *data, "data=rsna", f"data.root={phantom_root}", "trainer=ddp", "trainer.devices=2",
        "trainer.max_epochs=2", f"hydra.run.dir={both}", cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.count("Results are in") == 1
    log = (both / "train.log").read_text()
    for text in (trained.stdout, log):
        assert text.count("Epoch 1 of 2: ") == text.count("Epoch 2 of 2: ") == 1
        assert text.count("Results are in") == text.count("Intervals: 95 %") == 1
    assert log.rstrip().splitlines()[-1].startswith("Results are in")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both"]
    ckpt = both / "checkpoints/best.ckpt"
    train(configure(*data, "train=false", f"ckpt_path={ckpt}", "data.batch_size=2", run="alone"))
    one, other = (pd.read_csv(tmp_path / f"{run}/predictions.csv") for run in ("alone", "both"))
    pd.testing.assert_frame_equal(one, other, rtol=1e-5)
    first, second = (
        json.loads((tmp_path / f"{run}/metrics.json").read_text())["test"]
        for run in ("alone", "both")
    )
    for name, result in first.items():
        assert second[name]["n"] == result["n"]
        if result["value"] is None:  # nobody of that stage
            assert second[name]["value"] is None
        else:
            assert second[name]["value"] == pytest.approx(result["value"], rel=1e-4), name


@pytest.mark.slow
def test_a_sweep_of_such_runs_is_refused(configure, monkeypatch):
    config = SimpleNamespace(mode=RunMode.MULTIRUN, overrides=SimpleNamespace(task=[]))
    sweep = SimpleNamespace(initialized=lambda: True, get=lambda: config)
    monkeypatch.setattr("boneage.run.options.HydraConfig", sweep)
    alone = configure()
    check_strategy(instantiate(alone.trainer), alone)
    with pytest.raises(UserError, match=r"strategy=ddp cannot be swept with -m: its subprocesses"):
        train(configure("trainer=ddp"))
    with pytest.raises(UserError, match=r"strategy=auto on 2 devices cannot be swept with -m: its"):
        train(configure("trainer.devices=2"))  # for which Lightning chooses ddp


def test_dropout_differs_between_processes_epochs_and_seeds():
    def drawn(seed=1, epoch=4, rank=0):
        trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=2)
        EpochSeed(seed).on_train_epoch_start(trainer, None)
        return torch.rand(1).item()

    assert drawn() == drawn()
    assert len({drawn(), drawn(rank=1), drawn(epoch=5), drawn(seed=2)}) == 4


@pytest.mark.parametrize(("processes", "share", "enough"), [(1, 0.5, True), (2, 0.5, False)])
def test_the_test_fold_of_each_process_has_a_batch(processes, share, enough):
    """Of 16 radiographs in batches of 8, each of two processes has one: half of it is none."""
    trainer = SimpleNamespace(limit_test_batches=share, world_size=processes)
    data = SimpleNamespace(fold_table=lambda fold: range(16), batch_size=8)
    if enough:
        check_test_batches(trainer, data)
        return
    with pytest.raises(
        UserError, match=r"=0\.5 is less than one batch of the test fold, .* has 1:"
    ):
        check_test_batches(trainer, data)
