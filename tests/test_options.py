"""The table of options: whole, true to the config, and the same for all that read it."""

import fnmatch
from inspect import signature

import pytest
import yaml
from helpers import PROJECT, compose_config
from omegaconf import OmegaConf

from boneage.callbacks.dashboard import hyperparameters
from boneage.evaluation.report.tables import option_rows
from boneage.evaluation.run_folder import FinishedRun
from boneage.options import TABLE, find, is_choice, is_recorded, kind_of, page
from boneage.run.options import options
from boneage.tasks.age_distribution import AgeDistribution

CHOSEN = {
    key.removeprefix("override "): value
    for entry in yaml.safe_load((PROJECT / "conf/train.yaml").read_text())["defaults"]
    if entry != "_self_"
    for key, value in entry.items()
}


@pytest.fixture(scope="module")
def composed():
    """Every option of the default config with both tasks, references written out."""
    of_class = signature(AgeDistribution).parameters
    cfg = compose_config(
        "data=rsna",
        "data.root=/radiographs",
        "task=multitask",
        "callbacks=gradcam_localisation",
        "+callbacks.conflict=null",
        *(f"+tasks.age.{name}={of_class[name].default}" for name in ("sigma", "share")),
        "run_dir=/run",
    )
    return dict(leaves(OmegaConf.to_container(cfg)))


def leaves(node, path=()):
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    else:
        yield ".".join(path), node


def test_the_page_of_options_is_what_the_table_says():
    file = PROJECT / "docs/options.md"
    assert file.read_text() == page(), "run python -m boneage.options > docs/options.md"
    assert len(page().splitlines()) <= 150
    assert all(f"| `{row.name}` |" in page() for row in TABLE)


def test_every_option_of_the_config_has_a_row(composed):
    assert [key for key in (*composed, *CHOSEN) if find(key) is None] == []


def test_every_row_is_of_an_option_or_a_group(composed):
    names = [*composed, *CHOSEN]
    for row in TABLE:
        patterns = (row.name, f"{row.name}.*")
        assert any(fnmatch.filter(names, pattern) for pattern in patterns), row.name
    assert len({row.name for row in TABLE}) == len(TABLE)


def test_defaults_are_those_of_the_config(composed):
    for row in TABLE:
        if row.group:
            assert CHOSEN.get(row.name, row.default) == row.default, row.name
        elif row.default != "":
            values = [value for key, value in composed.items() if fnmatch.fnmatch(key, row.name)]
            assert values, row.name
            assert all(value == row.default for value in values), row.name


def test_every_choice_of_a_group_is_named_in_its_row():
    for row in TABLE:
        if row.group and row.name not in ("experiment", "hydra"):
            choices = [file.stem for file in (PROJECT / "conf" / row.name).glob("*.yaml")]
            said = f"`{row.default}` {row.meaning}"
            assert choices, row.name
            assert [name for name in choices if f"`{name}`" not in said] == [], row.name


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("seed", "identity"),
        ("trainer.devices", "identity"),  # data.batch_size is of each device
        ("trainer.strategy", "bookkeeping"),
        ("trainer.some_new_flag", "identity"),
        ("mirror_test", "setting"),
        ("data.root", "bookkeeping"),
        ("data.root.n", "bookkeeping"),
        ("data.rooted", "setting"),
        ("data.batch_size", "identity"),  # a test has that of the training
        ("callbacks.dashboard.every_n_epochs", "bookkeeping"),
        ("callbacks.early_stopping.patience", "identity"),
        ("callbacks.mine.strength", "identity"),
        ("logger.mine.project", "bookkeeping"),
        ("tasks.mine.depth", "identity"),
        ("tasks.mine.loss", "identity"),
        ("rate", "identity"),
    ],
)
def test_the_nearest_row_counts_and_what_has_none_is_part_of_the_run(key, kind):
    assert kind_of(key) == kind


def test_choices_and_what_is_not_written_down():
    assert is_choice("backbone")
    assert is_choice("head@tasks.mine.head")
    assert not is_choice("backbone.name")
    assert not is_choice("seed")
    left_out = ("run_dir", "resume", "experiment", "hydra/launcher", "debug")
    assert not any(is_recorded(key) for key in left_out)
    assert is_recorded("callbacks")
    assert is_recorded("mine")
    assert {"run_dir", "resume"}.isdisjoint(options(compose_config("run_dir=/run")))


def test_page_and_hparams_name_the_options_of_each_task(tmp_path):
    of_run = {"data.size": 64, "tasks.stage.balance": 1, "tasks.bones.balance": 0, "name": "mine"}
    run = FinishedRun(tmp_path, {"options": of_run}, None, None)
    shown = dict(option_rows(run))
    assert shown == {"image size (pixels)": 64, "stage balance": 1, "bones balance": 0}
    found = hyperparameters(of_run)
    assert (found["size"], found["balance"], found["task"]) == (64, "1, 0", "mine")


def test_a_page_shows_only_limits_that_are_set(tmp_path):
    limits = {"trainer.max_epochs": -1, "trainer.max_steps": 70, "trainer.max_time": None}
    run = FinishedRun(tmp_path, {"options": {"seed": 3, **limits}}, None, None)
    assert option_rows(run) == [("seed", 3), ("steps at most", 70)]


def test_a_page_shows_no_draw_of_a_split_where_none_was_drawn(tmp_path):
    draw = {"data.split_seed": 4, "data.folds": 5, "data.fold": 2}
    drawn = [("split seed", 4), ("parts of the split", 5), ("test part", 2)]

    def shown(external=False, **options):
        metrics = {"external": external, "options": draw | options, "n": {}}
        return option_rows(FinishedRun(tmp_path, metrics, None, None))

    assert shown() == drawn
    assert shown(**{"data.split_file": "split.csv"}) == []
    sample = {"data.split_file": "split.csv", "data.train_films": 9}
    assert shown(**sample) == [drawn[0], ("training radiographs", 9)]  # drawn by that seed
    (tmp_path / "split.csv").write_text("id,fold,age_years,sex\na,test,9,male\nb,unused,9,male\n")
    assert shown(external=True) == drawn
    (tmp_path / "split.csv").write_text("id,fold,age_years,sex\na,test,9,male\nb,test,9,male\n")
    assert shown() == drawn
    assert shown(external=True) == []
