"""What the package imports and declares: who may import whom, and one value for a constant."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib import import_module
from importlib.metadata import packages_distributions
from pkgutil import walk_packages

import pytest
from helpers import PROJECT

import boneage
from boneage.errors import FRAMEWORK
from boneage.predict.onnx_model import OnnxModel
from boneage.weights import BUILTIN

PACKAGE = PROJECT / "boneage"
FROM_TOP = [
    "cli",
    "predict",
    "run",
    "callbacks",
    "explain",
    "models",
    "tasks",
    "uncertainty",
    "evaluation",
    "data",
    "weights",
]
LIGHTNING = {"data/module.py", "models/module.py"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    room = path.relative_to(PACKAGE).parts[0]
    below = FROM_TOP[FROM_TOP.index(room) :] if room in FROM_TOP else []
    if room in ("__main__.py", "__init__.py"):
        below = FROM_TOP
    name = str(path.relative_to(PACKAGE))
    for module in imports(path):
        top, *rest = module.split(".")
        if top == "boneage" and rest and rest[0] in FROM_TOP:
            assert rest[0] in below, f"{name} imports {module}, which is above it"
        if top in ("hydra", "omegaconf"):
            assert room == "run", f"{name} imports {module}: only boneage/run may"
        if top == "lightning":
            assert room in ("run", "callbacks") or name in LIGHTNING, f"{name} imports {module}"


def test_every_room_is_known():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == set(FROM_TOP)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "boneage",
        "boneage.data.cache",
        "boneage.data.layouts",
        "boneage.data.phantom",
        "boneage.explain.regions",  # reads films in processes of their own
        "boneage.predict.page",
    ],
)
def test_light_modules_leave_torch_out(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
DECLARED = PYPROJECT["project"]
IMPORTS = {name.split(".")[0] for path in FILES for name in imports(path)}
IMPORTS -= {"boneage", *sys.stdlib_module_names}
INSTALLED = packages_distributions()
MISSING = IMPORTS - INSTALLED.keys()  # of extras that are not installed


def normal(requirement):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def names_of(requirements):
    """Return the imports of boneage that these distributions provide."""
    wanted = {normal(requirement) for requirement in requirements}
    return {
        name
        for name in IMPORTS - MISSING
        if wanted & {normal(distribution) for distribution in INSTALLED[name]}
    }


DESK = names_of(DECLARED["dependencies"])
EXTRAS = DECLARED["optional-dependencies"]


def test_every_import_is_declared():
    own = [r for extra, listed in EXTRAS.items() if extra != "dev" for r in listed]
    assert DESK | names_of(own) == IMPORTS - MISSING


def test_the_framework_is_what_the_extra_train_brings():
    assert {*FRAMEWORK} - MISSING == names_of(EXTRAS["train"])
    assert DESK.isdisjoint(FRAMEWORK)


def test_every_file_of_the_package_is_installed():
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["boneage"]
    installed = {*FILES, *(path for pattern in patterns for path in PACKAGE.glob(pattern))}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert files == installed


def test_the_declared_licence_is_that_of_the_code_and_of_the_weights():
    weights = OnnxModel(BUILTIN).contract["licence"].split(" (")[0]
    assert DECLARED["license"] == f"MIT AND {weights.replace(' ', '-')}"


@pytest.mark.parametrize("group", ["dependencies", *EXTRAS])
def test_every_requirement_has_a_lower_bound(group):
    listed = DECLARED["dependencies"] if group == "dependencies" else EXTRAS[group]
    own_extra = "boneage["
    assert [r for r in listed if not re.search(">=|==", r) and not r.startswith(own_extra)] == []


def test_a_constant_has_one_value():
    """Constants of one name in two modules have one meaning."""
    values = defaultdict(set)
    for module in walk_packages(boneage.__path__, "boneage."):
        if not module.name.endswith("__main__"):
            for name, value in vars(import_module(module.name)).items():
                if name.isupper():
                    values[name].add(repr(value))
    assert {name: given for name, given in values.items() if len(given) > 1} == {}
