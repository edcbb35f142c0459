"""TensorBoard: the tags of a run, HPARAMS over runs, and a dashboard that changes no number."""

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import torch
import yaml
from helpers import TINY, compose_config, trained_weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from torch.utils.tensorboard import SummaryWriter

from boneage.callbacks.dashboard import add_graph, hyperparameters
from boneage.cli.runs import PINNED, pinned
from boneage.run.checkpoint import build_model
from boneage.run.experiment import train


def dashboard(every_n_epochs=5):
    """Return the option that puts back what tiny runs leave out."""
    target = "boneage.callbacks.dashboard.Dashboard"
    return f"+callbacks.dashboard={{_target_: {target}, every_n_epochs: {every_n_epochs}}}"


TASKS = ("regression", "classification", "multitask")


@pytest.fixture(scope="module")
def events(phantom_root, tmp_path_factory):
    """The metrics and the event files of a single run of each task, and of the joint one."""
    found = {}
    for task in TASKS:
        run_dir = tmp_path_factory.mktemp(task)
        metrics = train(
            compose_config(
                *TINY, "data=rsna", f"data.root={phantom_root}", f"run_dir={run_dir}",
                f"task={task}", "trainer.max_epochs=3", dashboard(every_n_epochs=2),
            )
        )  # fmt: skip
        found[task] = metrics, read_events(run_dir / "tensorboard")
    return found


def read_events(folder):
    return EventAccumulator(str(folder), {"images": 0, "tensors": 0, "scalars": 0}).Reload()


def hparams_of(folder):
    """Return options, final metrics and all tags of a run's HPARAMS."""
    final = read_events(folder / "final")
    written = final.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(written["_hparams_/session_start_info"])
    chosen = {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in start.session_start_info.hparams.items()
    }
    return chosen, {name: final.Scalars(name)[0].value for name in scalars(final)}, written


def steps_of(points):
    return [point.step for point in points]


def scalars(accumulator):
    return set(accumulator.Tags()["scalars"])


@pytest.mark.slow
def test_single_and_joint_runs_share_their_names(events):
    regression, classification, joint = (scalars(events[task][1]) for task in TASKS)
    assert joint == regression | classification
    for fold in ("train", "val"):
        assert {f"{fold}/loss", f"{fold}/age/loss", f"{fold}/stage/loss"} <= joint
    assert {"val/age/mae_months", "val/stage/balanced_accuracy", "images_per_second"} <= joint
    assert "learning_rate" in joint
    assert set(PINNED) <= joint


def test_figures_at_the_chosen_epochs_and_at_the_end(events):
    _, joint = events["multitask"]
    for name in ("scatter", "residuals", "confusion"):
        drawn = joint.Images(f"val/{name}")
        assert steps_of(drawn) == steps_of(joint.Scalars("val/loss"))[1:]  # the second, the last
        assert min(drawn[0].width, drawn[0].height) > 200
        assert steps_of(joint.Images(f"test/{name}")) == steps_of(joint.Scalars("test/loss"))
    assert "val/scatter" not in events["classification"][1].Tags()["images"]


@pytest.mark.parametrize(("every", "figures"), [(2, 1), (9, 0)])
def test_a_figure_is_at_the_step_of_its_validation(configure, tmp_path, every, figures):
    """Not at the last one, which was not validated; the sanity check has no figure."""
    validated = (f"trainer.check_val_every_n_epoch={every}", "trainer.num_sanity_val_steps=1")
    train(configure("trainer.max_epochs=3", *validated, dashboard()))
    events = read_events(tmp_path / "run/tensorboard")
    tags = events.Tags()
    drawn = events.Images("val/scatter") if "val/scatter" in tags["images"] else []
    validated_at = events.Scalars("val/loss") if "val/loss" in tags["scalars"] else []
    assert len(drawn) == figures
    assert steps_of(drawn) == steps_of(validated_at)


def test_the_augmented_sheet_the_graph_and_the_config_stand_once(events):
    metrics, joint = events["multitask"]
    (sheet,) = joint.Images("train/augmented")
    assert (sheet.height, sheet.width) == (4 * 32, 8 * 32)
    nodes = {node.name.split("/")[1] for node in joint.Graph().node if "/" in node.name}
    assert any("backbone" in name for name in nodes)
    (text,) = joint.Tensors("config/text_summary")
    written = text.tensor_proto.string_val[0].decode()
    config = yaml.safe_load(re.fullmatch(r"```yaml\n(.*)\n```", written, re.DOTALL)[1])
    assert config["data"]["seed"] == metrics["seed"]  # resolved, not ${seed}
    assert config["data"]["size"] == 32


def test_hparams_hold_options_and_final_metrics(events):
    found = {task: hparams_of(Path(events[task][1].path)) for task in TASKS}
    chosen, final, _ = found["multitask"]
    expected = {"task": "multitask", "backbone": "SlimResNet", "sex": "NoSex"}
    expected |= {"loss": "SmoothL1Loss"}
    expected |= {"size": 32, "batch": 8, "seed": 1, "balance": 0, "sampler": "ages"}
    assert expected.items() <= chosen.items()
    test = events["multitask"][0]["test"]
    for name in ("age/mae_months", "stage/balanced_accuracy"):
        assert final[f"test/{name}"] == pytest.approx(test[name]["value"], rel=1e-4)
    assert len(events["multitask"][1].Scalars("test/age/mae_months")) == 1
    assert not any("loss" in name for name in final)
    # TensorBoard shows a sweep over tasks whole: no run lacks an option or speaks for the others
    for options, metrics, written in found.values():
        assert options.keys() == chosen.keys()
        assert metrics.keys() <= final.keys()
        assert "_hparams_/experiment" not in written
    assert found["classification"][0]["loss"] == found["regression"][0]["balance"] == "-"


def test_choices_of_the_command_line_have_their_own_names():
    options = {"backbone": "slim_resnet", "backbone._target_": "boneage.models.SlimResNet"}
    options |= {"name": "regression", "augment": "report", "loss": "l1"}
    chosen = hyperparameters(options)
    assert chosen["backbone"] == "slim_resnet"
    assert chosen["augmentation"] == "report"
    assert chosen["loss"] == "l1"
    assert chosen["balance"] == "-"


@pytest.mark.slow
def test_the_dashboard_changes_no_number(configure, tmp_path):
    common = ["task=multitask", "sex=embedding", "augment=geometric"]
    train(configure(*common, dashboard(every_n_epochs=1), run="with"))
    train(configure(*common, run="without"))
    one, other = (trained_weights(tmp_path / name) for name in ("with", "without"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_without_tensorboard_there_is_no_dashboard(configure, tmp_path):
    csv = "logger.tensorboard._target_=lightning.pytorch.loggers.CSVLogger"
    train(configure(csv, "~logger.tensorboard.flush_secs", dashboard()))
    assert not list(tmp_path.rglob("events.out.tfevents.*"))


@pytest.mark.slow
def test_a_compiled_model_has_its_graph_and_prints_nothing(configure, tmp_path, capfd, caplog):
    model = build_model(configure(), record={}, compile_backbone=True)
    with SummaryWriter(tmp_path) as writer:
        add_graph(writer, model, size=32)
    assert any("backbone" in node.name for node in read_events(tmp_path).Graph().node)
    assert model.training
    assert model.backbone.training
    assert "".join(capfd.readouterr()) + caplog.text == ""


def test_a_model_that_cannot_be_traced_is_passed_over(configure, caplog, capfd, tmp_path):
    model = build_model(configure(), record={})
    model.backbone.forward = lambda image: image.fail_here
    with SummaryWriter(tmp_path) as writer:
        add_graph(writer, model, size=32)
    assert "no graph of this model: " in caplog.text
    assert "".join(capfd.readouterr()) == ""
    assert model.training


def test_pinned_cards_are_tensorboards_json():
    cards = json.loads(urllib.parse.unquote(re.search(r"=(.*)&", pinned())[1]))
    assert cards[0] == {"plugin": "scalars", "tag": "val/age/mae_months"}


@pytest.mark.slow
def test_dashboard_serves_the_runs_of_a_folder(configure, tmp_path):
    train(configure(dashboard()))
    server = subprocess.Popen(
        [sys.executable, "-m", "boneage", "dashboard", str(tmp_path), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address = re.search(r"http://[^/]+/", server.stdout.readline())[0]
        with urllib.request.urlopen(f"{address}data/plugins_listing", timeout=60) as answer:
            plugins = json.load(answer)
        assert plugins["timeseries"]["enabled"]
    finally:
        server.terminate()
        server.wait(timeout=30)
