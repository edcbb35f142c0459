"""The description of a model: every parameter is in exactly one block."""

import pytest
import torch
from helpers import BACKBONES, compose_config

from boneage.models.network import describe_architecture
from boneage.run.checkpoint import build_model


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_parameter_is_in_a_block(backbone):
    model = build_model(
        compose_config(f"backbone={backbone}", "task=multitask", "sex=embedding"), record={}
    )
    state = {name: value.clone() for name, value in model.state_dict().items()}
    described = describe_architecture(model, size=64)
    blocks = described["backbone"] + described["sex"]
    blocks += [block for head in described["heads"].values() for block in head]
    expected = sum(p.numel() for p in model.parameters())
    assert sum(block["parameters"] for block in blocks) == expected
    assert all(block["label"] for block in blocks)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


PAPER = ("backbone=paper_cnn", "tasks.age.hidden=[256,64]", "tasks.age.dropout=[0.4,0.3]")


def test_the_reports_network():
    described = describe_architecture(build_model(compose_config(*PAPER), record={}), size=128)
    assert described["input"] == [3, 128, 128]
    assert [block["shape"] for block in described["backbone"]] == [
        [32, 64, 64], [64, 32, 32], [128, 16, 16], [256, 8, 8], [256, 1, 1],
    ]  # fmt: skip
    assert described["backbone"][0]["label"] == "conv 3x3, ReLU, batch norm, max pool"
    # a convolution: 3 * 3 * 3 * 32 weights and 32 biases; its batch norm: 2 * 32
    assert described["backbone"][0]["parameters"] == 960
    assert [block["label"] for block in described["heads"]["age"]] == [
        "fully connected 256, ReLU, dropout 0.4",
        "fully connected 64, ReLU, dropout 0.3",
        "fully connected 1",
    ]
