"""Every command of README, docs and help composes, and what it names can be built."""

import os
import re
import shlex
import subprocess
import tomllib

import pytest
import typer
from helpers import PROJECT, compose_config, with_fast_network
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.utils import instantiate

from boneage.cli.main import app
from boneage.data.module import BoneAgeDataModule
from boneage.errors import UserError
from boneage.run.check import check_config
from boneage.run.checkpoint import build_model

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
EXTRAS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
STARTS = ("python ", "boneage ", "make ", "pip ", "srun ")
UsageError = typer.BadParameter.__base__  # Typer brings a click of its own, or does not


def commands_of(text):
    """Return the commands of a page: in fenced blocks, in indented ones, and within sentences."""
    text = text.replace("\\\n", " ")  # a backslash joins two lines
    fence = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    fenced = [line for kind, block in fence.findall(text) if kind == "sh" for line in lines(block)]
    rest = fence.sub("", text)
    indented = re.findall(r"^ {4,}(.*)$", rest, re.MULTILINE)
    inline = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest)]
    inline = [f"{span} --help" if re.fullmatch(r"boneage \w+", span) else span for span in inline]
    return fenced + lines("\n".join(c for c in indented + inline if c.startswith(STARTS)))


def lines(block):
    """Return the lines of a block that are more than a comment, without it."""
    words = [shlex.split(line, comments=True) for line in block.splitlines()]
    return [shlex.join(line) for line in words if line]


HELP = (PROJECT / "conf/hydra/default.yaml").read_text()
TEXTS = [page.read_text() for page in PAGES] + [re.sub(r"(?<=\S) {3,}(?=\S)", "  # ", HELP)]
COMMANDS = sorted({command for text in TEXTS for command in commands_of(text)})


def check(line, root):
    """Raise when a command names what does not exist, or has an option that is not known."""
    match shlex.split(line, comments=True):
        case ["srun", *command] if command:
            check(shlex.join(command), root)
        case ["python", "train.py", *words]:
            check_training(words, root)
        case ["python", script, *_] if any(PROJECT.glob(script.replace("NAME", "*"))):
            pass
        case ["boneage", *words]:
            check_boneage(words)
        case ["make", *words]:
            check_make(words, root)
        case ["pip", "install", "-e", extras] | ["pip", "install", extras]:
            asked = re.fullmatch(r"(?:\.|boneage)(?:\[(.*)\])?", extras)[1] or ""
            assert set(filter(None, asked.split(","))) <= set(EXTRAS), extras
        case other:
            raise AssertionError(f"not a command that can be checked: {other}")


def check_training(words, root):
    """Compose every run of a `train.py` command and build what it consists of."""
    if set(words) & {"--help", "--cfg"}:
        return
    multirun = "-m" in words
    overrides = OverridesParser.create().parse_overrides([w for w in words if w != "-m"])
    choices = [
        [override.value().start]  # of a range to search
        if override.is_interval_sweep()
        else list(override.sweep_string_iterator())
        if override.is_sweep_override()
        else [None]
        for override in overrides
    ]
    assert multirun or all(len(values) == 1 for values in choices), "several values without -m"
    for number in range(max(map(len, choices), default=1)):  # each value once
        values = [values[min(number, len(values) - 1)] for values in choices]
        run = [
            override.input_line if value is None else f"{override.get_key_element()}={value}"
            for override, value in zip(overrides, values, strict=True)
        ]
        build(compose_config(*with_fast_network(*run), f"data.root={root}", f"run_dir={root}"))


def build(cfg):
    check_config(cfg)
    cfg.trainer.accelerator = "cpu"
    if "pretrained" in cfg.backbone:
        cfg.backbone.pretrained = False  # the weights are not fetched
    for node in ("callbacks", "logger", "trainer"):
        instantiate(cfg[node])
    assert isinstance(instantiate(cfg.data), BoneAgeDataModule)
    build_model(cfg, record={})


def check_boneage(words):
    """Parse a `boneage` command without running it."""
    group = typer.main.get_command(app)
    if words[0].startswith("-"):
        assert words[0] in {"--help"} | {name for option in group.params for name in option.opts}, (
            words
        )
        return
    assert words[0] in group.commands, words
    if words[1:] == ["--help"]:
        return
    group.commands[words[0]].make_context(words[0], words[1:])


def check_make(words, root):
    """Ask make what it would do, and check the commands of this project among it."""
    done = subprocess.run(
        ["make", "--dry-run", *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if k not in ("ARGS", "MAKEFLAGS")},
    )
    for line in done.stdout.splitlines():
        if "/python train.py" in line:
            check("python train.py" + line.partition("/python train.py")[2], root)
        elif "/boneage " in line:
            check("boneage " + line.partition("/boneage ")[2], root)


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_documented_command(line, phantom_root):
    check(line, phantom_root)


def test_the_pages_have_commands():
    assert len(COMMANDS) > 50
    assert sum(line.startswith("python train.py") for line in COMMANDS) > 25


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "python train.py data.residance=device",
        "python train.py data.residence=gpu",
        "python train.py task=ages",
        "python train.py seed=1,2",
        "python train.py -m task=regression,ages",
        "python train.py hydra/launcher=slrm",
        "python train.py optimizer.lr=fast",
        "python train.py augment=report augment.transforms.0._target_=albumentations.VerticalFlip "
        "data.residence=device",
        "boneage predikt hand.png",
        "boneage predict hand.png --checkpoint RUN --tat",
        "boneage predict",
        "boneage export --checkpoint RUN --out model.onnx --format tflite",
        "boneage --install-complete",
        "make trian",
        'make train ARGS="tasks=regression"',
        "pip install -e '.[dicom,apps]'",
        "python benchmark/startup.py",
        "boneages predict",
    ],
)
def test_a_wrong_command_is_noticed(line, phantom_root):
    with pytest.raises((AssertionError, UserError, HydraException, UsageError,
                        subprocess.CalledProcessError)):  # fmt: skip
        check(line, phantom_root)
