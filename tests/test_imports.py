"""The rooms of the house: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "boneage"
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


@pytest.mark.parametrize(
    "module",
    [
        "boneage",
        "boneage.data.cache",
        "boneage.data.layouts",
        "boneage.data.phantom",
        "boneage.explain.boxes",  # reads films in processes of their own
        "boneage.predict.page",
    ],
)
def test_light_modules_leave_torch_out(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
