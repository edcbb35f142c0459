"""The best checkpoint has the weights whose validation gave its score, whenever that was."""

import lightning as L
import pytest
from hydra.utils import instantiate

from boneage.callbacks.checkpoint import EpochSeed
from boneage.errors import UserError
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.experiment import train

WITHIN = ("trainer.val_check_interval=2", "trainer.check_val_every_n_epoch=null")


class Trace(EpochSeed):
    """Keep the step and the score of every validation."""

    scores: list[tuple[int, float]]

    def on_validation_end(self, trainer, pl_module):
        score = float(trainer.callback_metrics["val/age/mae_years"])
        self.scores.append((trainer.global_step, score))


@pytest.mark.parametrize("average", ["no_ema", "default"])
@pytest.mark.parametrize(
    ("options", "steps"),  # of the validations; three steps are an epoch
    [
        ((), [3, 6, 9, 12]),
        (WITHIN, [2, 4, 6, 8, 10, 12]),
        ((*WITHIN, "trainer.max_epochs=-1", "trainer.max_steps=8"), [2, 4, 6, 8]),
        (("trainer.val_check_interval=0.34",), list(range(1, 13))),
        (("trainer.check_val_every_n_epoch=3",), [9]),
    ],
)
def test_the_weights_of_best_have_its_score(
    configure, tmp_path, monkeypatch, average, options, steps
):
    monkeypatch.setattr(Trace, "scores", [], raising=False)
    monkeypatch.setattr("boneage.run.experiment.EpochSeed", Trace)
    cfg = configure(f"callbacks={average}", "trainer.max_epochs=4", "optimizer.lr=0.03", *options)
    score = train(cfg)["best_validation"]
    assert [step for step, _ in Trace.scores] == steps
    best = min(Trace.scores, key=lambda step_and_score: step_and_score[1])
    checkpoint = read_checkpoint(tmp_path / "run/checkpoints/best.ckpt")
    assert (checkpoint["global_step"], score) == best
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (again,) = trainer.validate(load_model(checkpoint), instantiate(cfg.data), verbose=False)
    assert again["val/age/mae_years"] == score


def test_weights_that_are_not_finite_are_not_saved_within_an_epoch(
    configure, tmp_path, monkeypatch
):
    monkeypatch.setattr("boneage.callbacks.early_stopping.all_finite", lambda weights: False)
    with pytest.raises(UserError, match="the weights are not finite in epoch 1:"):
        train(configure(*WITHIN))
    assert not (tmp_path / "run/checkpoints/best.ckpt").exists()
