"""Training that diverges: said when it happens, and nothing of it is kept."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, call, write_finished_run

from boneage.callbacks.early_stopping import EVERY, SKIPS, Divergence
from boneage.errors import UserError
from boneage.evaluation.comparison.page import write_comparison
from boneage.evaluation.figures.registry import draw_figures
from boneage.evaluation.figures.training import learning_curves
from boneage.evaluation.report.page import write_report
from boneage.evaluation.report.statements import behind_baselines
from boneage.explain.cases import overlay_sheet
from boneage.explain.film import square_film
from boneage.models.module import BoneAgeModule
from boneage.predict.ensemble import Ensemble
from boneage.run.checkpoint import read_checkpoint
from boneage.run.experiment import train
from boneage.run.results import write_json
from boneage.stages import Stages
from boneage.tasks.regression import AgeRegression

pytestmark = pytest.mark.drawn


@pytest.mark.parametrize(
    "options",
    [
        ["optimizer.lr=1e30"],
        ["optimizer.lr=1e30", "precision=bf16-mixed", "task=classification"],
        ["optimizer=sgd", "optimizer.lr=1000", "trainer.gradient_clip_val=null"],
    ],
)
def test_too_large_a_rate_is_said_when_it_shows(configure, tmp_path, options):
    with pytest.raises(UserError, match=r"in epoch \d, step \d: lower optimizer\.lr \(now 1"):
        train(configure("scheduler=constant", "trainer.max_epochs=20", *options))
    assert "lower optimizer.lr" in (tmp_path / "run/error.txt").read_text()
    assert not (tmp_path / "run/metrics.json").exists()


@pytest.mark.slow
def test_the_command_ends_with_one_line_and_marks_the_run(phantom_root, tmp_path):
    done = call(
        *TINY, "data=rsna", f"data.root={phantom_root}", "optimizer.lr=1e30",
        "scheduler=constant", f"hydra.run.dir={tmp_path}/run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: the loss is not finite in epoch 1, step 2: lower optim")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "run/error.txt").read_text() == done.stderr.removeprefix("error: ")


def test_what_was_finite_is_kept(configure, tmp_path, monkeypatch):
    step = BoneAgeModule.training_step

    def planted(self, batch, batch_idx):
        broken = self.current_epoch == 2 and batch_idx == 1
        return step(self, batch, batch_idx) * (float("nan") if broken else 1)

    monkeypatch.setattr(BoneAgeModule, "training_step", planted)
    with pytest.raises(UserError, match=r"loss is not finite in epoch 3, step 2: .*best\.ckpt"):
        train(configure("trainer.max_epochs=9"))
    checkpoints = tmp_path / "run/checkpoints"
    assert read_checkpoint(checkpoints / "last.ckpt")["epoch"] == 1
    assert read_checkpoint(checkpoints / "best.ckpt")["epoch"] <= 1


def test_the_rate_is_not_to_blame_before_the_first_step(configure, monkeypatch):
    step = BoneAgeModule.training_step
    monkeypatch.setattr(BoneAgeModule, "training_step", lambda *args: step(*args) * float("nan"))
    with pytest.raises(UserError, match=r"epoch 1, step 1: no weight has changed yet.* the loss"):
        train(configure())


def test_predictions_that_are_not_finite_stop_a_run(configure, tmp_path, monkeypatch):
    decode = AgeRegression.decode
    monkeypatch.setattr(AgeRegression, "decode", lambda self, raw: decode(self, raw) + torch.inf)
    with pytest.raises(
        UserError, match=r"the predictions of \d of \d validation radiographs are not finite in ep"
    ):
        train(configure())
    assert not (tmp_path / "run/checkpoints").exists()


class Steps:
    """A trainer of one process, as far as `Divergence` sees it."""

    def __init__(self, scaler):
        self.precision_plugin = SimpleNamespace(scaler=scaler)
        self.strategy = SimpleNamespace(root_device="cpu", reduce=lambda t, reduce_op: t)
        self.current_epoch, self.is_last_batch, self.precision = 0, False, "16-mixed"
        self.optimizers = [SimpleNamespace(param_groups=[{"lr": 0.1}])]
        self.checkpoint_callbacks = []

    def run(self, losses):
        check = Divergence()
        for i, loss in enumerate(losses):
            self.is_last_batch = i == len(losses) - 1
            check.on_train_batch_end(self, None, {"loss": torch.tensor(loss)}, None, i)


@pytest.mark.parametrize("place", [0, 3, EVERY - 1, EVERY, 2 * EVERY + 4])
def test_the_step_is_the_first_that_is_not_finite(place):
    losses = [1.0] * place + [float("nan")] * (35 - place)
    with pytest.raises(UserError, match=rf"not finite in epoch 1, step {place + 1}: "):
        Steps(scaler=None).run(losses)


def test_steps_that_a_gradient_scaler_skips_end_nothing():
    inf = float("inf")
    Steps(scaler=object()).run([inf] + [1.0] * 30 + [inf] * SKIPS + [1.0])
    with pytest.raises(UserError, match=r"step 8: .*precision=32-true"):
        Steps(scaler=object()).run([1.0] * 7 + [float("nan")] * (SKIPS + 5))


def test_a_loss_that_explodes_has_diverged():
    Steps(scaler=None).run([0.5, 900.0, 0.5])
    Steps(scaler=None).run([1e-7, 900.0, 0.5])  # a small first loss, as of trained weights
    with pytest.raises(UserError, match=r"the loss is 3e\+06 in epoch 1, step 2"):
        Steps(scaler=None).run([0.5, 3e6, 1.0])
    with pytest.raises(UserError, match=r"the loss is 3e\+07 in epoch 1, step 12"):
        Steps(scaler=None).run([20.0, *[3e6] * 10, 3e7])  # a million times the first


def test_a_validation_whose_loss_explodes_has_diverged():
    """Of stages, which have no MAE; the advice names the rate of the command, not of the step."""
    steps, check = Steps(scaler=None), Divergence()
    steps.optimizers[0].param_groups[0]["initial_lr"] = 0.3
    steps.is_last_batch = True
    check.on_train_batch_end(steps, None, {"loss": torch.tensor(1.0)}, None, 0)
    model = torch.nn.Linear(1, 1)
    for loss, said in ((9e5, None), (2e6, "2e+06"), (float("nan"), "not finite")):
        steps.callback_metrics = {"val/loss": torch.tensor(loss)}
        if said is None:
            check.on_train_epoch_end(steps, model)
            continue
        with pytest.raises(UserError) as caught:
            check.on_train_epoch_end(steps, model)
        start = (
            f"the loss of the validation fold is {said} in epoch 1: lower optimizer.lr (now 0.3)"
        )
        assert str(caught.value).startswith(start)


def test_weights_that_are_not_finite_are_refused(configure, tmp_path):
    train(configure())
    path = tmp_path / "run/checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    next(iter(checkpoint["state_dict"].values())).view(-1)[0] = float("nan")
    torch.save(checkpoint, path)
    for use in (read_checkpoint, lambda file: Ensemble([file])):
        with pytest.raises(UserError, match=r"best\.ckpt cannot be used: its training diverged"):
            use(path)


def test_json_has_null_for_what_is_not_finite(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1.0, float("nan")], "b": {"c": -float("inf")}, "n": 2})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [1, None],
        "b": {"c": None},
        "n": 2,
    }


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e17, 1e300])
def test_figures_bear_any_number(value):
    n = 8
    table = pd.DataFrame(
        {"id": range(n), "sex": "female", "age_years": np.linspace(1, 17, n)}
    ).assign(age_years_predicted=[value] + [9.0] * (n - 1))
    assert "scatter" in draw_figures(table, Stages())
    assert draw_figures(table[:1], Stages()) == {}
    maps = np.ones((2, 8, 8))
    maps[0, 0, 0] = value
    overlay_sheet([square_film(np.zeros((8, 8), np.uint8))] * 2, maps, ["a", "b"]).savefig(
        "/dev/null", format="png"
    )
    history = pd.DataFrame(
        {"epoch": [0, 1], "learning_rate": 0.1, "train/age/loss": [value, 1.0],
         "val/age/loss": [value, value], "val/age/mae_months": [value, 2.0]}
    )  # fmt: skip
    learning_curves(history).savefig("/dev/null", format="png")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "5 of 30 test radiographs are not finite"),
        (1e9, "5 of 30 predicted ages are beyond 150 years"),
    ],
)
def test_pages_say_of_a_diverged_run_that_it_has(tmp_path, value, said):
    table = pd.DataFrame(
        {"id": [str(i) for i in range(30)], "sex": "male", "age_years": np.linspace(1, 17, 30)}
    )
    sound = write_finished_run(tmp_path / "sound", table.assign(age_years_predicted=9.0))
    run = write_finished_run(
        tmp_path / "diverged", table.assign(age_years_predicted=[value] * 4 + [-value] + [9.0] * 25)
    )
    assert said in write_report(run).read_text()
    write_comparison([sound, run], tmp_path / "out")
    assert "diverged" in (tmp_path / "out/comparison.html").read_text()


@pytest.mark.parametrize(("off", "ends"), [(24.0, False), (26.0, True)])
def test_an_error_beyond_all_ages_has_diverged(configure, monkeypatch, off, ends):
    def decode(self, raw):
        return raw.squeeze(1) * 0 + self.mean + off

    monkeypatch.setattr(AgeRegression, "decode", decode)
    if not ends:
        train(configure())
        return
    with pytest.raises(UserError, match=r"MAE of the validation fold is 2\d years, more than any"):
        train(configure())


def test_a_model_that_is_behind_the_baseline_is_said(tmp_path):
    table = pd.DataFrame(
        {"id": [str(i) for i in range(30)], "sex": "male", "age_years": np.linspace(1, 17, 30)}
    )

    def said(**predicted):
        run = write_finished_run(tmp_path / "run", table.assign(**predicted))
        metrics = json.loads((run / "metrics.json").read_text())
        return behind_baselines(metrics["test"], metrics["baselines"])

    assert said(age_years_predicted=table["age_years"] + 1) is None
    line = said(age_years_predicted=258.0)
    assert line.startswith("No better than without a radiograph: MAE 249.000 years, compared with ")
    assert " years for the mean training age. " in line
    truth = np.array(Stages().names)[Stages().index_of(table["age_years"].to_numpy())]
    assert said(stage_predicted=truth) is None
    assert "Balanced accuracy 0.500, compared with 0.500 for the most frequent stage" in said(
        stage_predicted="child"
    )
