"""Every option of every group composes and can be built."""

import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from itertools import zip_longest
from types import SimpleNamespace

import pytest
import yaml
from helpers import PROJECT, compose_config, with_fast_network
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from lightning.pytorch import Callback
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import SGD

from boneage.cli.datasets import download, phantom, verify
from boneage.errors import FailedRun, UserError, option_word
from boneage.options import kind_of
from boneage.run.check import OPTIONS, check_config
from boneage.run.checkpoint import build_model
from boneage.run.options import flatten
from boneage.run.overrides import check_overrides
from boneage.run.process import interruptible
from boneage.tasks.regression import AgeRegression

CONF = PROJECT / "conf"
FILES = [path.relative_to(CONF) for path in CONF.glob("*/**/*.yaml")]
OPTIONS_OF_GROUPS = defaultdict(list)
for path in sorted(FILES):
    if path.parts[0] != "hydra" and path.parts[1] != "base":  # what experiments share
        group, option = path.parts[0], "/".join(path.with_suffix("").parts[1:])
        OPTIONS_OF_GROUPS[group].append(f"{group}={option}")
ALONE = [  # what sets options of other groups
    [option]
    for group in ("debug", "experiment", "hparams_search")
    for option in OPTIONS_OF_GROUPS.pop(group)
]
OPTIONS_OF_GROUPS["loss"] += OPTIONS_OF_GROUPS.pop("task")  # not every task has a loss to choose
TOGETHER = [[*filter(None, options)] for options in zip_longest(*OPTIONS_OF_GROUPS.values())]
NODES = ("data", "optimizer", "scheduler", "callbacks", "logger", "trainer")  # beside the model


class AgeWithoutTarget(AgeRegression):
    def loss(self, output):
        return output.mean()


class StepAlone(SGD):
    def step(self):
        super().step()


class HookAlone(Callback):
    def on_fit_end(self):
        pass


class Other(nn.Module):
    def __init__(self, *args, **kwargs):
        super().__init__()


def build(cfg: DictConfig) -> None:
    check_config(cfg)
    for node in NODES:
        instantiate(cfg[node])
    build_model(cfg, record={})


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [*ALONE, *TOGETHER], ids=" ".join)
def test_every_option(chosen, phantom_root, tmp_path):
    overrides = [*chosen, f"run_dir={tmp_path}"]
    if "data=phantom" in chosen:
        overrides += [f"data.root.folder={tmp_path}", "data.root.n=3", "data.root.size=64"]
    else:
        overrides.append(f"data.root={phantom_root}")
    if "backbone=timm" in chosen:
        overrides.append("backbone.name=resnet10t")
    if "callbacks=gradcam_localisation" in chosen:
        overrides.append(f"data.hold_out={phantom_root}/masks")
    build(compose_config(*with_fast_network(*overrides)))


@pytest.mark.parametrize("task", ["regression", "classification", "multitask"])
def test_paper_experiments_are_the_setting_of_the_reference_study(task, phantom_root, tmp_path):
    cfg = compose_config(
        f"experiment=paper_{task}", f"data.root={phantom_root}", f"run_dir={tmp_path}"
    )
    assert (cfg.data.size, cfg.data.fit, cfg.data.contrast) == (128, "squash", "none")
    assert cfg.optimizer._target_ == "torch.optim.Adam"
    assert cfg.optimizer.lr == 1e-3
    heads = {"age": 82_305, "stage": 33_283}
    model = build_model(cfg, record={})
    expected = 389_376 + sum(heads[name] for name in cfg.tasks)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["~optimizer._partial_"], "optimizer: .*'params'; set it, or write _partial_: true"),
        (["optimizer.lr=abc"], "optimizer.lr='abc' is not valid: .*a valid number"),
        (["optimizer.lr=-1"], "optimizer.lr=-1 is not valid: .*or equal to 0"),
        (["optimizer.weight_decay=-1"], "optimizer.weight_decay=-1 is not valid: .*or equal to 0"),
        (["+data.columns.foo=bar"], "data.columns.foo: there is no such option: there are id, age"),
        (["+data.columns.sexes=s"], r"data.columns.sexes: .* did you mean sex\?$"),
        (["~logger.tensorboard"], "a logger: leave it out too, with ~callbacks.lr_monitor$"),
        (["tasks.age.weight=0"], "tasks.age.weight=0: nothing would be learned; set a weight"),
        (
            ["task=multitask", "tasks.age.weight=0", "tasks.stage.weight=0"],
            "tasks.age.weight=0, tasks.stage.weight=0: nothing would be learned",
        ),
        (["trainer.max_epochs=ten"], "trainer.max_epochs='ten' is not valid"),
        (["data.size=big"], "data.size='big' is not valid"),
        (["data.batch_size=0"], "data.batch_size=0 is not valid"),
        (
            ["data.train_films=-3"],
            "data.train_films=-3 is not valid: Input should be greater than 0 or 'all'",
        ),
        (["data.subgroups=site"], "data.subgroups='site' .* write a list: data.subgroups=.site."),
        (["data.fit=stretch"], "data.fit='stretch' is not valid: .*squash"),
        (["tasks.age.loss=mae"], "tasks.age.loss='mae' is not valid: .*group \\(loss=...\\)"),
        (["loss=smooth_l1", "loss.beta=wide"], "loss.beta='wide' is not valid"),
        (["loss=smooth_l1", "loss.beta=-1"], "loss.beta=-1 is not valid: .*or equal to 0"),
        (["loss=huber", "loss.delta=0"], "loss.delta=0 is not valid: .*greater than 0"),
        (["loss=l1", "+loss.beta=1"], "loss.beta: torch.nn.L1Loss has no such option"),
        (
            ["loss=smooth_l1", "loss._target_=helpers.PlainLoss"],
            r"loss.beta: helpers.PlainLoss has no such option \(~loss.beta leaves it out\)$",
        ),
        (["task=classification", "+loss=l1"], "loss: there is no such option"),
        (
            ["data.columns.readers=[ann,2]"],
            r"""2 is a number: as text write 'data.columns.readers=\["ann", "2"\]', with all quo""",
        ),
        (["data.columns.age=3"], """3 is a number: as text write 'data.columns.age="3"', with"""),
        (
            ["data.subgroups=[1.5]"],
            r"""1.5 is a number: as text write 'data.subgroups=\["1.5"\]'""",
        ),
        (["seed=abc"], "seed='abc' is not valid"),
        (["seed=-1"], "seed=-1 is not valid"),
        (["data.seed=-1"], "data.seed=-1 is not valid"),
        (["readers_margin=-1"], "readers_margin=-1 is not valid"),
        (["readers_margin=one"], "readers_margin='one' is not valid: .*a valid number"),
        (["data.root=null"], "data.root=None is not valid"),
        (["data.columns.id=[a,b]"], r"data.columns.id=\['a', 'b'\]: give one column, not a list"),
        (["+backbone.width=3"], "backbone.width: .* has no such option"),
        (
            ["backbone._target_=boneage.models.backbones.Nothing"],
            "^backbone._target_=boneage.models.backbones.Nothing: "
            "module 'boneage.models.backbones' has no attribute 'Nothing'$",
        ),
        (["loss._target_=nowhere.Loss"], "^loss._target_=nowhere.Loss: No module named 'nowhere'$"),
        (["loss._target_=torch.nn"], "^loss._target_=torch.nn: .* is not a callable object$"),
        (["backbone.channels=2"], "backbone.channels=2 is not valid"),
        (
            ["backbone=slim_resnet", "backbone.widths=[64,128]"],
            "backbone.widths has 2 values and backbone.depths 4",
        ),
        (["backbone=timm"], "backbone.name is not set"),
        (["backbone=timm", "backbone.name=resnet_18"], "timm has no such network; .* resnet18"),
        (["backbone=timm", "backbone.name=hf-hub:some/one"], "timm has no such network"),
        (["backbone=timm", "backbone.name=vit_tiny_patch16_224"], "does not accept images of 128"),
        (["backbone=timm", "backbone.name=xcit_nano_12_p8_224"], "no layer has .* maps"),
        (["backbone=resnet18", "backbone.stem_stride=3"], "larger than 2, the stride of"),
        (
            ["backbone=efficientnet_lite0", "backbone.enlarge=0.5"],
            "backbone.enlarge=0.5 is not valid",
        ),
        (["task=classification", "tasks.stage.balance=-1"], "tasks.stage.balance=-1 is not valid"),
        (["scheduler.warmup=5"], "scheduler.warmup=5 is not valid: .* less than or equal to 1"),
        (["sex=embedding", "sex.dim=0"], "sex.dim=0 is not valid"),
        (["sex=embedding", "sex.drop=10"], "sex.drop=10 is not valid"),
        (["tasks.age.weight=-1"], "tasks.age.weight=-1 is not valid"),
        (["tasks.age.weight=inf"], "tasks.age.weight=inf is not valid: .*finite"),
        (
            [
                "tasks.age._target_=boneage.tasks.age_distribution.AgeDistribution",
                "+tasks.age.share=20",
            ],
            "tasks.age.share=20 is not valid",
        ),
        (["stages.edges=[10]"], "stages: 3 names"),
        (["tasks.age.dropout=[0.4,0.3]"], "hidden"),
        (["augment=report", "augment.transforms.1.brightness_limit=bright"], "augment"),
        (["precision=7-bit"], "precision"),
        (["trainer.devices=0", "data.root=missing"], "trainer: .*device"),  # before reading data
        (["tasks=regression"], "tasks='regression' is not valid"),
        (["+tasks.stage.balance=1"], "tasks.stage has no _target_"),
        (["stages=4"], "stages=4 is not valid"),
        (["+optimiser.lr=1"], "optimiser: there is no such option: did you mean optimizer?"),
        (["+max_epochs=1"], "max_epochs: there is no such option: there are seed, train, "),
        (["+callbacks.early_stoping.patience=3"], "early_stoping has no .*mean early_stopping?"),
        (["callbacks.last=null"], "callbacks.last=null: leave it out with ~callbacks.last$"),
        (["callbacks.last=true"], "callbacks.last=true: leave it out with ~callbacks.last$"),
        (["loss._target_=null"], "loss._target_=None: "),
        (["reference=paper", "reference.label=null"], "reference=.* is not valid: .*string"),
        (["reference=paper", "+reference.publisht={}"], "reference=.* is not valid: Extra"),
        (["resume=yes"], "resume='yes' is not valid: .*'auto'"),
        (["tasks.age.hidden=[-1]"], r"tasks.age.hidden=\[-1\] is not valid: .*greater than 0"),
        (["tasks.age.dropout=[2]"], r"tasks.age.dropout=\[2\] is not valid: .*less than or equal"),
        (["backbone=slim_resnet", "backbone.stem=0"], "backbone.stem=0 is not valid"),
        (["backbone=slim_resnet", "backbone.depths=[1,2,-2,1]"], "backbone.depths=.* is not valid"),
        (["backbone=paper_cnn", "backbone.widths=[]"], r"backbone.widths=\[\] is not valid"),
        (["~tasks.age"], r"^tasks is empty: .* choose task="),
        (["stages.names=['',b,c]"], r"^stages.names=\['', 'b', 'c'\]: a name is empty"),
        (["precision=64-true"], "precision='64-true' is not valid: .*'32-true'"),
        (["trainer.precision=bf16-true"], "trainer.precision='bf16-true' is not valid"),
        (["monitor=null"], "^monitor=None is not valid"),
        (["mode=lowest"], "^mode='lowest' is not valid: Input should be 'min' or 'max'"),
        (["name=null"], "^name=None is not valid"),
        (["monitor=val_loss"], "^monitor=val_loss: there is no such metric: did you mean val/loss"),
        (["monitor=val/age/r2"], "^monitor=val/age/r2 is better if higher, .*: set mode=max$"),
        (
            ["callbacks.early_stopping.monitor=val/age/mea_years"],
            r"^callbacks.early_stopping.monitor=val/age/mea_years: .* mean val/age/mae_years",
        ),
        (["seed=${nope}"], "^seed: Interpolation key 'nope' not found$"),
        (["seed='3'"], r"^seed='3' is text: .*, and an .* as \${oc.decode:\${oc.env:NAME}}$"),
        (["monitor=epoch"], "^monitor=epoch: there is no such metric: there are val/loss, "),
        (
            ["callbacks.last.filename=best"],
            "^callbacks.last.filename=best is also the file of callbacks.best: choose another",
        ),
        (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches=0 is not valid"),
        (["trainer.check_val_every_n_epoch=0"], "trainer.check_val_every_n_epoch=0 is not valid"),
        (["trainer.val_check_interval=0"], "trainer.val_check_interval=0 is not valid"),
        (["trainer.val_check_interval='00:00:00:01'"], "trainer.val_check_interval=.* not valid"),
        (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1 is not valid"),
        (["+trainer.logger=false"], "^trainer.logger has no effect, .*~logger.NAME leaves one out"),
        (["trainer.max_time=5"], "trainer.max_time=5 is not valid: .*valid string"),
        (["callbacks.early_stopping.patience=-1"], "patience=-1 is not valid"),
        (
            ["+callbacks.mine._target_=helpers.PlainLoss"],
            "^callbacks.mine: PlainLoss is no subclass of lightning.pytorch.Callback",
        ),
        (
            ["scheduler._target_=torch.optim.lr_scheduler.ConstantLR", "~scheduler.warmup"],
            "^scheduler: ConstantLR.* unexpected keyword argument 'total_steps'",
        ),
        (["loss=l1", "+loss._partial_=true"], "^loss: L1Loss is a class: leave out its _partial_$"),
        (
            ["loss=l1", "loss._target_=torch.nn.AdaptiveLogSoftmaxWithLoss"],
            "^tasks.age.loss: .* missing 3 required .*; set it$",
        ),
        (
            ["loss=l1", "loss._target_=torch.nn.GaussianNLLLoss"],
            r"^loss: GaussianNLLLoss.forward\(input.* is called with \(output, target\): define it",
        ),
        (
            ["tasks.age._target_=test_config.AgeWithoutTarget"],
            r"^tasks.age: AgeWithoutTarget.loss\(output\) is called with \(output, target\)",
        ),
        (
            ["tasks.age._target_=test_config.Other"],
            "^tasks.age: Other is no subclass of boneage.tasks.base.Task$",
        ),
        (
            ["optimizer=adam", "optimizer._target_=test_config.StepAlone"],
            r"^optimizer: StepAlone.step\(\) is called with \(closure\): define it",
        ),
        (["weighting._target_=test_config.Other"], "^weighting: Other is no subclass of boneage"),
        (
            ["optimizer=adam", "optimizer._target_=test_config.Other"],
            "^optimizer: Other is no subclass of torch.optim.Optimizer$",
        ),
        (
            ["+callbacks.mine._target_=test_config.HookAlone"],
            r"^callbacks.mine: HookAlone.on_fit_end\(\) is called with \(trainer, pl_module\)",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_bad_value_is_one_clear_line(overrides, said, phantom_root, tmp_path):
    from boneage.run.experiment import train

    folders = (f"run_dir={tmp_path}", f"data.root={phantom_root}")
    cfg = compose_config(*folders, *with_fast_network(*overrides))
    with pytest.raises(UserError, match=said) as caught:
        train(cfg)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["precision=32"],
        ["trainer.precision=32"],
        ["train=false", "~logger.tensorboard"],  # only a training logs its learning rate
        ["+callbacks.mine={_target_:lightning.pytorch.callbacks.ModelCheckpoint,filename:null}"],
        ["loss=smooth_l1", "loss._target_=test_config.Signed", "loss.beta=-1"],
        [
            "+callbacks.mine._target_=lightning.pytorch.callbacks.GradientAccumulationScheduler",
            "+callbacks.mine.scheduling={0:2}",
        ],
    ],
    ids=lambda value: value[0],
)
def test_a_usual_value_is_accepted(overrides, phantom_root, tmp_path):
    check_config(compose_config(f"data.root={phantom_root}", f"run_dir={tmp_path}", *overrides))


def test_missing_root_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.root is not set.*data\.root="):
        check_config(compose_config("data=rsna", f"run_dir={tmp_path}"))
    with pytest.raises(UserError, match=r"^~data: a run cannot do without data"):
        check_config(compose_config("~data", f"run_dir={tmp_path}"))


class Signed(nn.Module):
    """A user's loss, whose option has the name, but not the limits, of another."""

    def __init__(self, beta: float = 0.0) -> None:
        super().__init__()
        self.beta = beta


class PlainAge(AgeRegression):
    """A user's task that passes its options on."""

    def __init__(self, in_features: int, **options: object) -> None:
        super().__init__(in_features, **options)


class OwnAge(AgeRegression):
    """A user's task with the options of the class that it extends."""


def test_a_share_of_a_teacher_without_a_teacher_is_said(phantom_root, tmp_path, caplog):
    own = (f"data.root={phantom_root}", f"run_dir={tmp_path}")
    share = "tasks.age.soft_weight=0.8"
    for silent in ((), ("train=false", share), (share, "data.soft_targets=t.csv")):
        check_config(compose_config("data=rsna", *own, *silent))
        assert not caplog.text
    check_config(compose_config("data=rsna", *own, share))
    assert f"{share} has no effect without data.soft_targets=" in caplog.text
    caplog.clear()
    check_config(compose_config("data=rsna", *own, "tasks.age._target_=test_config.PlainAge"))
    assert "soft_weight" not in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["data.fold=1"], r"^data\.fold=1 has no effect with data\.split_file=s\.csv.*fold=0\)"),
        (["data.folds=site"], r"^data\.folds=site has no effect.*data\.folds=10\)"),
        (["data.split_seed=3"], r"^data\.split_seed=3 has no effect"),
        (["data.split_seed=3", "data.train_films=10"], None),
        (["data.fold=0", "data.folds=10", "data.split_seed=0"], None),
        (["data.fold=1", "data.split_file=part_${data.fold}.csv"], None),
        (
            ["data.folds=5", "data.split_file=part_${data.fold}.csv"],
            r"^data\.folds=5 has no effect",
        ),
    ],
)
def test_a_split_file_and_another_split_are_refused(options, said, phantom_root, tmp_path):
    own = (f"data.root={phantom_root}", f"run_dir={tmp_path}", "data.split_file=s.csv")
    cfg = compose_config("data=rsna", *own, *options)
    if said is None:
        check_config(cfg)
        return
    with pytest.raises(UserError, match=said):
        check_config(cfg)


@pytest.mark.parametrize(
    ("task", "refused"),
    [("classification", "stage"), ("sex", "sex"), ("regression", ""), ("age_stage_sex", "")],
)
def test_a_teacher_of_no_task_is_refused(task, refused, phantom_root, tmp_path):
    own = (f"data.root={phantom_root}", f"run_dir={tmp_path}", f"task={task}")
    cfg = compose_config("data=rsna", *own, "data.soft_targets=t.csv")
    if refused:
        with pytest.raises(UserError, match=rf"soft_targets has no effect on the task {refused}: "):
            check_config(cfg)
        cfg.train = False  # a test reads no teacher
    check_config(cfg)


def test_config_files_are_listed_in_help():
    config = yaml.safe_load((PROJECT / "conf/hydra/default.yaml").read_text())
    assert config["help"]["header"].count("python train.py ") >= 4
    assert config["help"]["template"].count("$APP_CONFIG_GROUPS") == 1


def test_the_known_names_are_those_of_the_config():
    assert set(OPTIONS) == set(compose_config("task=classification"))


def test_a_name_that_an_option_refers_to_is_known(phantom_root, tmp_path):
    cfg = compose_config(
        f"run_dir={tmp_path}", f"data.root={phantom_root}", "+rate=0.01", "optimizer.lr=${rate}"
    )
    check_config(cfg)


NAMES = ["b (1)", "a;b", "a=b", "a,b", "[b]", "{b}", "a;b, c=d (2) ä", "a&b", 'a"b;', "a'b (1)"]


def test_a_value_that_needs_quotation_marks_is_told_how():
    advised = []
    for name in NAMES:
        with pytest.raises(UserError) as caught:
            check_overrides(["task=regression", f"data.root=/x/{name}"], CONF)
        assert str(caught.value).startswith(f"data.root=/x/{name} ")
        # as a shell hands it over
        (argument,) = shlex.split(str(caught.value).partition("quote it: ")[2])
        assert OverridesParser.create().parse_override(argument).value() == f"/x/{name}"
        advised.append(argument)
    check_overrides(advised, CONF)


def test_a_list_of_names_that_need_quotation_marks_is_told_how():
    with pytest.raises(UserError) as caught:
        check_overrides(["task=regression", "data.subgroups=[Gerät, Größe (cm)]"], CONF)
    (argument,) = shlex.split(str(caught.value).partition("quote its entries: ")[2])
    check_overrides([argument], CONF)
    assert OverridesParser.create().parse_override(argument).value() == ["Gerät", "Größe (cm)"]


def test_an_advised_value_refers_to_what_it_referred_to():
    with pytest.raises(UserError) as caught:
        check_overrides(["task=regression", "hydra.run.dir=logs/${task_name}/a=b"], CONF)
    (argument,) = shlex.split(str(caught.value).partition("quote it: ")[2])
    check_overrides([argument], CONF)
    value = OverridesParser.create().parse_override(argument).value()
    named = OmegaConf.create({"task_name": "age", "folder": value})
    assert named.folder == "logs/age/a=b"


@pytest.mark.parametrize(("mode", "option"), [((), "run"), (("-m",), "sweep")])
def test_the_folder_of_a_run_is_named_to_hydra(mode, option):
    with pytest.raises(UserError, match=rf"^run_dir=here: .* hydra\.{option}\.dir=$"):
        check_overrides([*mode, "run_dir=here"], CONF)


def test_a_decimal_comma_is_told_the_point():
    with pytest.raises(UserError, match=r"a sweep \(-m\); .* point: optimizer\.lr=0\.001$"):
        check_overrides(["optimizer.lr=0,001"], CONF)


def values(command):
    """Return the values of the options of a command, as a shell and Hydra read them."""
    words = [word for word in shlex.split(command) if "=" in word]
    overrides = OverridesParser.create().parse_overrides(words)
    assert not any(override.is_sweep_override() for override in overrides)
    return {override.key_or_group: override.value() for override in overrides}


@pytest.mark.parametrize(
    "path",
    [
        *NAMES, *(f"/x/{name}/y" for name in NAMES), "/x/a b", "C:\\a b\\", 'a\\"b\\\\', "007",
        "1e3", ".5", "~x", "$HOME", "a`b`", "ä", "/x/a-b_1.2", "hands", "../hands", "*",
    ],
)  # fmt: skip
def test_a_path_comes_back_from_a_command(path):
    assert values(option_word("data.root", path)) == {"data.root": path}


@pytest.mark.parametrize(
    "path",
    [
        "null", "True", "NaN", "inf", "a${b}", "${env:HOME}/x", "a$b", "x\\${b}", "a\\\\${b}",
        "${", "${}", '\\\\${a}"', "None",
    ],
)  # fmt: skip
def test_a_path_is_no_other_value_and_no_reference(path):
    (word,) = shlex.split(option_word("data.root", path))
    assert compose_config("data=rsna", word).data.root == path


def test_plain_paths_are_not_quoted():
    for path in ("/x/a-b_1.2", "hands", "../hands"):
        assert option_word("data.root", path) == f"data.root={path}"


def test_offered_commands_name_their_folder(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "seed=2, of (2) 'sites'"
    phantom(folder, n=1, size=64)
    monkeypatch.setattr("boneage.data.official.download", lambda *given: None)
    download(folder, "test", accept_terms=True)
    offered = [line.partition("with: ")[2] for line in capsys.readouterr().out.splitlines()]
    train_phantom, verify_rsna, train_rsna = filter(None, offered)
    for command in (train_phantom, train_rsna):
        assert values(command) == {"data": "rsna", "data.root": str(folder)}
    assert shlex.split(verify_rsna) == ["boneage", "verify", str(folder)]
    with pytest.raises(UserError) as caught:
        verify(folder / "none")
    advised = str(caught.value).partition("download them: ")[2]
    assert shlex.split(advised) == ["boneage", "download", str(folder / "none")]
    with pytest.raises(UserError) as caught, interruptible(folder):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    again = str(caught.value).partition("the same config and ")[2]
    assert values(again) == {"hydra.run.dir": str(folder), "resume": "auto"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["data=phantom", "data.root=/x", "data.root.n=60"],
            r"^data\.root\.n: data\.root=/x replaces it, leave out one$",
        ),
        (["data=phantom", "data.root.m=60"], r"data\.root\.m: there is no such .* data\.root\.n"),
        (["task=classification", "loss=l1"], "^loss: nothing uses it with the chosen task.*out$"),
        (["loss=l7"], "^loss=l7 is not a choice"),
        (["scheduler={step_size:3}"], r"^scheduler={\.\.\.} has .* as \+scheduler\.NAME=VALUE$"),
        (["+experiment=box"], r"^\+experiment: write experiment=, without \+$"),
        (["seed=1", "--cfg", "job", "--seed=2"], "^--seed=2 cannot be read: write option=value"),
        (["trainer.max_epochs:3"], "^trainer.max_epochs:3 cannot be read: write option=value"),
        (["seed", "=", "3"], "^seed cannot be read: write option=value, without dashes and spaces"),
        (["data.subgroups=site,sex"], r"which need brackets for a list \(\[site,sex\]\) or a swe"),
        (["-m", "seed=1,2", "--cfg", "job"], "^-m and --cfg cannot be combined: leave one out$"),
        (["--experimental-rerun=a.pickle"], "^--experimental-rerun=a.pickle needs a file that no"),
        (["--run", "--info=plugins"], "^--run and --info=plugins cannot be combined"),
        (["hydra.job.env_copy=[NOPE]"], r"^hydra\.job\.env_copy: 'NOPE' is no environment var"),
        (["-m", "seed=1,2", "-h"], "^-h shows one run: choose one of the values of seed=1,2$"),
    ],
)
def test_options_that_exclude_each_other_are_said(arguments, said):
    with pytest.raises(UserError, match=said):
        check_overrides(arguments, CONF)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("hydra.run.dir=[1]", r" \(.*list.*\)"),
        ("hydra.sweeper.n_trials=abc", r" \(Value 'abc' of type 'str' could not be.* to Integer\)"),
        (
            "hydra.sweeper.params={seed:1}",
            r" cannot be used: give each part .* as \+hydra\.sweeper\.params\.NAME=VALUE",
        ),
        ("hydra.sweeper.n_trials=-1", ": must be at least 1"),
        ("hydra.sweeper.n_jobs=0", ": must be at least 1"),
        ("hydra.sweeper.params=${none}", " cannot be used: Interpolation key 'none' not found"),
        ("hydra.sweeper=${none}", " cannot be used: Interpolation key 'none' not found"),
        ("hydra.verbose=abc", ": give true, or the name of a package whose log .*"),
        ("hydra.verbose=5", ": give true, .*"),
        ("hydra.verbose=nothing.run", ": give true, .*"),
    ],
)
def test_a_wrong_value_of_an_option_of_hydra_is_one_line(word, reason):
    search = ["hparams_search=optuna"] * ("sweeper.n_" in word)
    mode = [] if "run" in word else ["-m", *search]
    with pytest.raises(UserError, match=rf"{re.escape(word)}{reason}$") as caught:
        check_overrides([*mode, word], CONF)
    assert "\n" not in str(caught.value)


def test_sweeps_and_plain_values_need_no_quotation_marks():
    plain = ["data.root=/x/a b", "~callbacks.grad_cam", "+a=1", "backbone.widths=[4,8]", "a="]
    check_overrides([*plain, "--config-dir=/x (1)"], CONF)
    check_overrides(["-m", "--help"], CONF)
    check_overrides(["-m", "--multirun", "seed=1,2"], CONF)
    for detailed in ("true", "boneage.run", "[hydra,__main__]"):
        check_overrides([f"hydra.verbose={detailed}"], CONF)
    check_overrides(["-m", "task=regression,classification", "seed=1,2"], CONF)
    storage = "hydra.sweeper.storage=sqlite:///${hydra:sweep.dir}/search.db"  # known later
    check_overrides(["-m", "hparams_search=optuna", storage], CONF)
    with pytest.raises(
        UserError, match=r"~/x cannot be read: write the home folder out: data\.root=/"
    ):
        check_overrides(["data.root=~/x"], PROJECT / "conf")
    with pytest.raises(UserError, match=r"quotation marks do not match"):
        check_overrides(['data.root="/x'], CONF)


def test_a_sweep_knows_the_choices_of_another_folder(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss/mine.yaml").write_text("_target_: torch.nn.L1Loss\n")
    path = f"hydra.searchpath=[file://{tmp_path}]"
    for words in (["loss=mine"], ["-m", "loss=mine,l1"], ["-m", "loss=l1,mine", "seed=1,2"]):
        check_overrides([*words, path], CONF)
    with pytest.raises(UserError, match=r"^loss=none is not a choice: there are .* l1, mine, mse"):
        check_overrides(["-m", "loss=mine,none", path], CONF)
    with pytest.raises(UserError, match=r"^loss=mine is not a choice"):
        check_overrides(["-m", "loss=l1,mine"], CONF)


def test_a_folder_of_ones_own_that_is_absent_is_said(tmp_path):
    for word in (f"file://{tmp_path}/cnf", f"{tmp_path}/cnf"):
        with pytest.raises(
            UserError, match=f"^hydra.searchpath: there is no folder {tmp_path}/cnf"
        ):
            check_overrides([f"hydra.searchpath=[{word}]", "loss=l1"], CONF)
    check_overrides([f"hydra.searchpath=[{tmp_path},pkg://boneage]", "loss=l1"], CONF)


@pytest.mark.parametrize("loss", ["l1", "smooth_l1"])
def test_two_joint_tasks_that_both_name_the_loss(tmp_path, loss):
    (tmp_path / "task").mkdir()
    for name, defaults in (("height", f"/loss: {loss}"), ("both", "regression\n  - height")):
        text = f"# @package _global_\ndefaults:\n  - {defaults}\nname: {name}\n"
        (tmp_path / f"task/{name}.yaml").write_text(text)
    with pytest.raises(UserError, match=r"^loss is in the defaults of two .* out of one, or write"):
        check_overrides(["task=both", f"hydra.searchpath=[file://{tmp_path}]"], CONF)


def test_a_search_of_an_option_that_the_optimizer_lacks(tmp_path):
    search = ["-m", "hparams_search=optuna"]
    said = r"^hydra\.sweeper\.params searches optimizer\.weight_decay, which the chosen options do"
    with pytest.raises(UserError, match=said):
        check_overrides([*search, "optimizer=adam"], CONF)
    check_overrides([*search, "optimizer=sgd"], CONF)
    (tmp_path / "hparams_search").mkdir()
    (tmp_path / "hparams_search/mine.yaml").write_text(
        "# @package _global_\ndefaults: [optuna]\n"
        "hydra: {sweeper: {params: {+optimizer.dampening: 'interval(0, 0.1)'}}}\n"
    )
    added = ["-m", "hparams_search=mine", f"hydra.searchpath=[file://{tmp_path}]"]
    check_overrides([*added, "optimizer=sgd"], CONF)


@pytest.mark.parametrize("group", ["task", "experiment"])
def test_a_file_of_options_begins_with_its_package(tmp_path, group):
    (tmp_path / group).mkdir()
    mine = tmp_path / group / "mine.yaml"
    text = "# @package _global_\nseed: 3\n"
    mine.write_text(f"# {mine}\n{text}")  # Hydra reads the package from the first lines only
    words = [f"{group}=mine", f"hydra.searchpath=[file://{tmp_path}]"]
    for sweep in ([], ["-m"]):
        with pytest.raises(UserError, match=f"^{group}=mine: the first line .* '# @package _glob"):
            check_overrides([*sweep, *words], CONF)
    mine.write_text(text)
    check_overrides(words, CONF)


@pytest.mark.parametrize("group", ["logger", "callbacks", "augment", "task", "experiment"])
@pytest.mark.parametrize("value", ["null", "3"])
def test_a_value_that_is_no_choice_of_a_group(group, value):
    with pytest.raises(UserError) as caught:
        check_overrides([f"{group}={value}"], CONF)
    choices = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
    assert str(caught.value).startswith(f"{group}={value} is not a choice: there are {choices}")


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("trainr.max_epochs", "trainer.max_epochs"),
        ("max_epoch", "trainer.max_epochs"),
        ("lr", "optimizer.lr"),
        ("backbon", "backbone"),
        ("callbacks.early_stoping.patience", "callbacks.early_stopping.patience"),
    ],
)
def test_a_mistyped_option_names_the_nearest(typo, meant):
    sweep = ["-m", f"{typo}=1,2", "seed=range(1,3)"]
    for arguments in ([f"{typo}=1"], *[sweep] * (typo == "lr")):  # a sweep's first job is checked
        with pytest.raises(UserError, match=rf"^{re.escape(typo)}: .* did you mean {meant}\b"):
            check_overrides(arguments, CONF)


def test_options_of_another_config_and_of_a_chosen_group_are_known():
    check_overrides(["--config-name=other", "anything=1"], CONF)
    check_overrides(["task=multitask", "tasks.stage.weight=2", "hydra.run.dir=x"], CONF)
    check_overrides(["-m", "task=multitask,regression", "tasks.age.weight=1,2"], CONF)
    check_overrides(["-m", "experiment=ladder/age/01_residual,best_128", "+new=1"], CONF)
    with pytest.raises(UserError, match=r"tasks\.stage\.weight: there is no such option"):
        check_overrides(["task=regression", "tasks.stage.weight=2"], CONF)


@pytest.mark.parametrize(
    "words",
    [
        ["hparams_search=optuna"],
        ["hydra/launcher=joblib", "seed=1"],
        ["hydra.sweep.dir=mine"],
        ["-m", "seed=1,2", "hydra.run.dir=mine"],
    ],
)
def test_what_hydra_would_ignore_is_refused(words):
    with pytest.raises(UserError, match=r"add -m|hydra\.sweep\.dir="):
        check_overrides(words, CONF)
    other = words[1:] if words[0] == "-m" else ["-m", *words]
    check_overrides([word for word in other if word != "seed=1,2"], CONF)
    shown = [word for word in words if word not in ("-m", "seed=1,2")]
    check_overrides([*shown, "--cfg", "job"], CONF)


def test_patterns_and_ranges_of_options_are_known():
    check_overrides(["-m", "task=glob(*)", "hydra/launcher=joblib"], CONF)
    search = ["-m", "hparams_search=optuna", "optimizer.lr=tag(log, interval(1e-4, 1e-2))"]
    check_overrides([*search, "data.batch_size=choice(8,16)", "seed=range(1,3)"], CONF)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=glob(ladder/age/0*)"], r"matches no choice: there are .*best_128"),
        (["optimizer.lr=interval(1e-4,1e-2)"], r"add hparams_search=optuna$"),
        (["hparams_search=optuna", "optimzer.lr=interval(1,2)"], r"did you mean optimizer\.lr\?"),
        (["hparams_search=optuna", "data.size=interval(32,64)", "sead=1"], "did you mean seed"),
    ],
)
def test_patterns_and_ranges_are_checked(words, message):
    with pytest.raises(UserError, match=message):
        check_overrides(["-m", *words], CONF)


def test_waiting_threads_are_told_to_sleep_before_torch_reads_it():
    code = "import boneage.run.overrides, os, sys; print('torch' in sys.modules, os.environ[{!r}])"
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", code.format("GOMP_SPINCOUNT")]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1000"]


@pytest.fixture(scope="module")
def conf_with_other_defaults(tmp_path_factory):
    """Copy the config with every number changed, except what names like slim_resnet stand for."""
    conf = tmp_path_factory.mktemp("changed") / "conf"
    shutil.copytree(CONF, conf)
    groups = ("callbacks", "data", "optimizer", "scheduler", "sex", "task")
    for files in ("train.yaml", *(f"{group}/*.yaml" for group in groups)):
        for path in conf.glob(files):
            path.write_text(re.sub(r"(?<=: |, |.\[)\d+(\.\d+)?(?=[],\s])", "77", path.read_text()))
    trainer = (conf / "trainer/default.yaml").read_text()
    trainer = re.sub("(max_epochs|gradient_clip_val): .*", r"\1: 77", trainer)
    (conf / "trainer/default.yaml").write_text(trainer)
    return conf


@pytest.mark.parametrize(
    "experiment",
    [
        *("paper_regression", "paper_classification", "paper_multitask"),
        *("ladder/age/01_residual", "ladder/age/04_sex", "ladder/age/12_distribution"),
        *("ladder/stage/05_both", "ladder/stage/07_ordinal", "ladder/stage/09_folds"),
    ],
)
def test_changed_defaults_do_not_change_measured_experiments(experiment, conf_with_other_defaults):
    def recipe(conf):
        options = OmegaConf.to_container(compose_config(f"experiment={experiment}", conf=conf))
        return {key: value for key, value in flatten(options) if kind_of(key) != "bookkeeping"}

    assert recipe(conf_with_other_defaults) == recipe(CONF)


def test_changed_defaults_change_what_follows_them(conf_with_other_defaults):
    changed = compose_config("experiment=best_128", conf=conf_with_other_defaults)
    assert changed.optimizer.weight_decay == changed.sex.dim == changed.data.folds == 77
    assert changed.callbacks.ema.decay == changed.stages.edges[0] == changed.tasks.age.weight == 77


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["loss._target_=torch.nn.HuberLoss", "~loss.beta"], None),
        (["loss._target_=torch.nn.SmoothL1Loss"], "loss.beta=0.1 (its default is 1.0); set"),
        (["loss._target_=torch.nn.SmoothL1Loss", "loss.beta=0.1"], None),
        (["loss.beta=0.2"], None),
        (["tasks.age._target_=test_config.OwnAge"], None),
        (["+hydra.callbacks.own._target_=hydra.experimental.callback.Callback"], None),
        (
            [
                "augment.transforms=[{_target_: albumentations.Blur, p: 0.1}]",
                "augment.transforms.0._target_=albumentations.MedianBlur",
            ],
            "augment.transforms.0.p=0.1 (its default is 0.5)",
        ),
    ],
)
def test_options_that_another_class_inherits_are_said(words, said, tmp_path, monkeypatch, caplog):
    given = SimpleNamespace(overrides=SimpleNamespace(task=words))
    monkeypatch.setattr(
        "boneage.run.options.HydraConfig",
        SimpleNamespace(initialized=lambda: True, get=lambda: given),
    )
    check_config(compose_config("loss=smooth_l1", *words, f"run_dir={tmp_path}"))
    assert len(caplog.messages) == (said is not None)
    assert said is None or said in caplog.text


def test_a_run_interrupted_before_it_has_a_folder_is_one_line(tmp_path, caplog):
    with pytest.raises(SystemExit), interruptible(tmp_path / "run"):
        raise KeyboardInterrupt
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("interrupted by SIGINT: no epoch was finished; start again with: ")
    assert not (tmp_path / "run").exists()


def test_an_error_in_a_loader_process_is_one_line(tmp_path):
    traceback = "Caught FailedRun in DataLoader worker process 0.\nOriginal Traceback (most ...):"
    with pytest.raises(UserError, match=r"^augment: what is wrong$"), interruptible(tmp_path):
        raise FailedRun(f"{traceback}\nboneage.errors.FailedRun: augment: what is wrong\n")
    assert (tmp_path / "error.txt").read_text() == "augment: what is wrong\n"
