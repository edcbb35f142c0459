"""Backbones, heads, the sex input, schedules."""

import itertools

import pytest
import torch
from helpers import compose_config
from torch import nn

from boneage.data.tables.sexes import SEXES
from boneage.errors import UserError
from boneage.models.backbones import Backbone, PaperCNN, ResidualBlock, SlimResNet
from boneage.models.network import Network
from boneage.models.pretrained import TimmBackbone
from boneage.models.schedules import constant, warmup_cosine
from boneage.models.sex import NoSex, SexEmbedding
from boneage.run.checkpoint import build_model
from boneage.tasks.base import MLPHead


def trainable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_parameter_counts_of_the_report():
    assert trainable(PaperCNN(channels=3)) == 389_376
    assert trainable(MLPHead(256, 1, hidden=[256, 64], dropout=[0.4, 0.3])) == 82_305
    assert trainable(MLPHead(256, 3, hidden=[128], dropout=[0.3])) == 33_283


def test_paper_cnn_is_four_halving_blocks_in_the_reports_order():
    backbone = PaperCNN()
    kinds = [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d]
    for block in backbone.layers[:4]:
        assert [type(layer) for layer in block] == kinds
    assert backbone.layers[:4](torch.zeros(1, 3, 128, 128)).shape == (1, 256, 8, 8)


def test_a_backbone_that_contradicts_itself_is_refused():
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UserError, match=r"cam_layer=conv is no layer .*choose one of 0, 1, 2$"):
        Backbone(layers, 1, 4, "conv")
    network = Network(Backbone(layers, 1, 8, "0"), NoSex(), {})
    with pytest.raises(UserError, match=r"features of shape \(2, 4\) instead of \(2, 8\)"):
        network(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "make",
    [
        PaperCNN,
        SlimResNet,
        *(
            pytest.param(lambda channels, name=name: TimmBackbone(name, channels), id=name)
            for name in ("resnet18", "convnext_tiny", "tf_efficientnet_lite0")
        ),
    ],
)
def test_backbones_say_their_width(make, channels):
    backbone = make(channels=channels).eval()
    assert backbone.channels == channels
    with torch.no_grad():
        assert backbone(torch.rand(2, channels, 64, 64)).shape == (2, backbone.out_features)


@pytest.mark.parametrize(
    ("stem_stride", "widths"), [(2, [4, 8, 16, 32]), (1, [4, 8, 16, 32]), (1, [4, 8, 16, 32, 64])]
)
def test_grad_cam_looks_at_the_deepest_maps_of_8_x_8_or_more(stem_stride, widths):
    backbone = SlimResNet(stem=4, stem_stride=stem_stride, widths=widths, depths=[1] * len(widths))
    seen = []
    for layer in backbone.layers:
        if isinstance(layer, ResidualBlock):
            layer.register_forward_hook(lambda layer, _, out: seen.append((layer, out.shape[-1])))
    backbone(torch.zeros(1, 1, 128, 128))
    assert [side for _, side in seen] == [
        128 // stem_stride // 2**i for i in range(1, len(seen) + 1)
    ]
    fine_enough = [layer for layer, side in seen if side >= 8]
    assert backbone.cam_layer is fine_enough[-1]


def test_squeeze_and_excitation_weights_the_channels_before_the_shortcut():
    torch.manual_seed(0)
    block = ResidualBlock(16, 16, stride=1, excitation=True).eval()
    x = torch.rand(2, 16, 8, 8)
    convolved = block.body[:-1](x)
    squeeze, excite = block.body[-1].fc1, block.body[-1].fc2
    mean = convolved.mean(dim=(2, 3))
    hidden = torch.relu(mean @ squeeze.weight.flatten(1).T + squeeze.bias)
    gates = torch.sigmoid(hidden @ excite.weight.flatten(1).T + excite.bias)
    assert hidden.shape == (2, 2)
    expected = torch.relu(convolved * gates[:, :, None, None] + x)
    torch.testing.assert_close(block(x), expected)


def test_squeeze_and_excitation_of_few_channels():
    """An eighth of 4, rounded down, would be a layer without a channel."""
    backbone = SlimResNet(stem=4, widths=(4, 8), depths=(1, 1), excitation=True)
    assert backbone(torch.rand(2, 1, 32, 32)).shape == (2, 8)


def test_no_sex_changes_nothing():
    features = torch.rand(4, 8)
    assert NoSex()(features, torch.tensor([0, 1, 2, 0])) is features
    assert NoSex.out_features == 0


@pytest.mark.parametrize("sexes", [["unknown"], ["male", "unknown"]])
def test_a_sex_of_no_training_radiograph_is_read_as_unknown(sexes):
    """Else untrained weights would shift the age of each radiograph whose sex is given."""
    torch.manual_seed(0)
    module = SexEmbedding(dim=4, drop=0.3)
    module.fit(sexes)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    sex = torch.tensor([SEXES.index(sex) for sex in sexes] * 20)
    before = module.embedding.weight.detach().clone()
    for _ in range(20):
        optimizer.zero_grad()
        (module(torch.zeros(len(sex), 1), sex) - 3).square().sum().backward()
        optimizer.step()
    of = dict(zip(SEXES, module.eval().embedding.weight.detach(), strict=True))
    assert not torch.equal(of["unknown"], before[SEXES.index("unknown")])
    assert torch.equal(of["female"], of["unknown"])
    assert torch.equal(of["male"], of["unknown"]) == ("male" not in sexes)


def test_sex_embedding_hides_sex_only_in_training():
    torch.manual_seed(0)
    module = SexEmbedding(dim=4, drop=0.3)
    features, sex = torch.rand(2000, 8), torch.ones(2000, dtype=torch.int64)
    unknown = module.embedding.weight[SEXES.index("unknown")]
    hidden = (module(features, sex)[:, 8:] == unknown).all(dim=1).float().mean()
    assert hidden == pytest.approx(0.3, abs=0.04)
    joined = module.eval()(features, sex)
    assert joined.shape == (2000, 12)
    assert torch.equal(joined[:, :8], features)
    assert torch.equal(joined[:, 8:], module.embedding.weight[1].expand(2000, -1))


@pytest.mark.parametrize(
    ("hidden", "dropout", "alike"), [("[]", "[]", True), ("[8]", "[0]", False)]
)
def test_sex_shifts_all_ages_alike_only_with_a_linear_head(hidden, dropout, alike):
    torch.manual_seed(0)
    model = build_model(
        compose_config(f"tasks.age.hidden={hidden}", f"tasks.age.dropout={dropout}"), record={}
    ).eval()
    image = torch.randint(0, 256, (16, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        ages = [model(image, torch.full((16,), sex))["age"] for sex in (0, 1)]
    difference = ages[1] - ages[0]
    assert (difference.std() < 1e-6) == alike


def rates(make, steps, total=None, **options):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = make(optimizer, total_steps=total or steps, **options)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_schedules():
    assert rates(constant, 5) == [2.0] * 5
    seen = rates(warmup_cosine, 100, warmup=0.1)
    assert seen[0] == pytest.approx(0.2)
    assert seen[9] == seen[10] == 2.0
    assert seen[55] == pytest.approx(1.0)  # half way down
    assert seen[-1] < 0.01
    assert all(b <= a for a, b in itertools.pairwise(seen[10:]))
    assert rates(warmup_cosine, 8, total=4, warmup=0.0)[4:] == [0.0] * 4  # after the end
