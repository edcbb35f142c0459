"""The moving average of the weights, beside one computed by hand."""

import lightning as L
import pytest
import torch
from helpers import trained_weights

from boneage.callbacks.checkpoint import Ema
from boneage.errors import UserError
from boneage.run.experiment import train


class Trace(L.Callback):
    """Copy the weights after every step."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.weights.append({k: v.clone() for k, v in pl_module.state_dict().items()})


def test_average_by_hand(configure, tmp_path, monkeypatch):
    trace = Trace()
    monkeypatch.setattr("boneage.run.experiment.EpochSeed", lambda seed: trace)
    train(configure("callbacks=default", "callbacks.ema.decay=0.5", "trainer.max_epochs=3"))
    kept = trained_weights(tmp_path / "run")
    average = trace.weights[0]
    for n, weights in enumerate(trace.weights[1:], start=1):
        decay = min(0.5, (1 + n) / (10 + n))
        average = {
            k: decay * v + (1 - decay) * weights[k] if v.is_floating_point() else weights[k]
            for k, v in average.items()
        }
    assert len(trace.weights) > 5
    for name, value in kept.items():
        torch.testing.assert_close(value, average[name], msg=name)


@pytest.mark.slow
def test_the_average_is_what_is_tested(configure, tmp_path):
    averaged = train(configure("callbacks=default", run="ema"))
    ckpt = tmp_path / "ema/checkpoints/best.ckpt"
    again = train(configure("train=false", f"ckpt_path={ckpt}", run="again"))
    assert again["test"] == averaged["test"]
    assert averaged["test"] != train(configure(run="plain"))["test"]


def test_decay_is_checked(configure):
    with pytest.raises(UserError, match=r"callbacks\.ema\.decay=1"):
        train(configure("callbacks=default", "callbacks.ema.decay=1"))
    assert Ema().decay == 0.99
