"""Training that starts from the weights of another run."""

import json
import shutil

import pandas as pd
import pytest
import torch
from helpers import trained_weights

from boneage.data.phantom import write_phantom
from boneage.errors import UserError
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.experiment import train
from boneage.run.seen import check_unseen

FROZEN = "optimizer.lr=0"  # training changes no weight, only batch norm's statistics


def learned(run):
    """Return the weights of a run that an optimizer changes."""
    buffers = ("running_mean", "running_var", "tracked", "age.mean", "age.std")
    weights = trained_weights(run, "best")
    return {name: value for name, value in weights.items() if not name.endswith(buffers)}


@pytest.fixture
def first(copied):
    return copied("seed=7", "sex=embedding", run="first") / "checkpoints/best.ckpt"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Radiographs of other children; do not write into it."""
    return write_phantom(tmp_path_factory.mktemp("other"), n=24, size=64, seed=5)


@pytest.mark.slow
def test_all_weights_are_taken_over(first, configure, tmp_path):
    frozen = ("sex=embedding", "seed=8", "optimizer.weight_decay=0", FROZEN)
    train(configure(*frozen, f"start_from={first}", run="second"))
    train(configure(*frozen, run="fresh"))
    before = learned(tmp_path / "first")
    after, fresh = (learned(tmp_path / name) for name in ("second", "fresh"))
    assert len(before) > 10
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(before["backbone.layers.0.weight"], fresh["backbone.layers.0.weight"])


def test_a_frozen_backbone_keeps_its_weights_but_for_batch_normalisation(
    first, configure, tmp_path
):
    options = ("sex=embedding", "seed=8", "trainer.max_epochs=2", "callbacks=frozen_backbone")
    frozen = train(configure(*options, f"start_from={first}", run="second"))
    before, after = learned(tmp_path / "first"), learned(tmp_path / "second")
    same = json.loads((tmp_path / "first/metrics.json").read_text())
    for size in ("parameters", "architecture"):  # of the network, not of what was trained
        assert frozen[size] == same[size]
    model = load_model(read_checkpoint(first))
    convolutions = [
        f"{name}.weight"
        for name, module in model.named_modules()
        if name.startswith("backbone.") and isinstance(module, torch.nn.Conv2d)
    ]
    assert convolutions
    assert all(torch.equal(before[name], after[name]) for name in convolutions)
    head = [name for name in before if name.startswith("tasks.age.head")]
    assert head
    assert not any(torch.equal(before[name], after[name]) for name in head)


def test_parts_that_do_not_fit_start_afresh(first, configure, tmp_path, caplog):
    joint = ("task=multitask", "optimizer.weight_decay=0", FROZEN, f"start_from={first}")
    train(configure(*joint, run="second"))
    before, after = learned(tmp_path / "first"), learned(tmp_path / "second")
    backbone = [name for name in before if name.startswith("backbone.")]
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    for part in ("sex", "tasks.stage", "tasks.age"):  # the age's features were wider by the sex's
        assert f"{part} of {first} does not fit" in caplog.text


@pytest.mark.slow
def test_the_next_run_of_a_chain_knows_the_radiographs_of_all_before(first, configure, tmp_path):
    train(configure("sex=embedding", f"start_from={first}", run="second"))
    second = read_checkpoint(tmp_path / "second/checkpoints/best.ckpt")
    split = pd.DataFrame(second["boneage"]["split"])
    assert set(second["boneage"]["earlier"]["id"]) & set(split["id"])  # each is there twice
    check_unseen(second, split)
    seen = int((split["fold"] != "test").sum())
    with pytest.raises(UserError, match=f"trained on {seen} radiographs of the test fold: "):
        check_unseen(second, split.assign(fold="test"))


@pytest.mark.slow
def test_a_resumed_run_keeps_the_radiographs_of_its_start(first, other, configure, tmp_path):
    options = ("sex=embedding", f"data.root={other}", f"start_from={first}")
    train(configure(*options, run="second"))
    last = tmp_path / "second/checkpoints/last.ckpt"
    longer = (f"ckpt_path={last}", "trainer.max_epochs=2")
    for start in ((), ("start_from=other.ckpt",)):
        with pytest.raises(UserError, match=rf"differs from its run in start_from \(was {first}\)"):
            train(configure(*options[:2], *longer, *start))
    first.unlink()  # its weights are not read again
    train(configure(*options, *longer, run="resumed"))
    records = [read_checkpoint(tmp_path / f"{run}/checkpoints/last.ckpt")["boneage"]
               for run in ("second", "resumed")]  # fmt: skip
    assert records[0]["earlier"]["id"]
    assert records[1]["earlier"] == records[0]["earlier"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    [
        [],
        ["tasks.age._target_=boneage.tasks.age_distribution.AgeDistribution"],
        ["task=multitask"],
    ],
)
def test_the_first_predictions_are_those_of_the_checkpoint(
    configure, trained, other, tmp_path, task
):
    """Also for radiographs with other ages; an untrained start is compared with a test."""
    first = trained("sex=embedding", *task) / "checkpoints/best.ckpt"
    root = shutil.copytree(other, tmp_path / "other")
    labels = root / "boneage-training-dataset.csv"
    table = pd.read_csv(labels)
    table.assign(boneage=100 + table["boneage"] // 2).to_csv(labels, index=False)
    changed = ("sex=embedding", *task, f"data.root={root}")
    train(configure(*changed, f"start_from={first}", "trainer.max_epochs=0", run="started"))
    train(configure(*changed, f"ckpt_path={first}", "train=false", "data.test=fold", run="tested"))
    started, tested = (
        pd.read_csv(tmp_path / run / "predictions.csv") for run in ("started", "tested")
    )
    assert list(started["id"]) == list(tested["id"])
    months = 12 * (started["age_years_predicted"] - tested["age_years_predicted"])
    assert months.abs().max() < 1e-4


def test_what_cannot_be_started_from_is_refused_before_decoding(first, configure, monkeypatch):
    monkeypatch.setattr("boneage.data.module.open_cache", None)
    with pytest.raises(UserError, match=r"start_from=.*first.*another backbone.*, stem=4"):
        train(configure(f"start_from={first}", "backbone.stem=5"))
    with pytest.raises(UserError, match=r"checkpoint .*absent\.ckpt cannot be loaded"):
        train(configure("start_from=absent.ckpt"))


@pytest.mark.slow
def test_what_was_trained_on_is_refused_as_a_test_radiograph(first, other, configure, tmp_path):
    with pytest.raises(UserError, match=r"trained on .* of the test fold: .*data.split_file="):
        train(configure(f"start_from={first}", "data.split_seed=3"))
    train(configure(f"start_from={first}", f"data.root={other}", run="second"))
    second = tmp_path / "second/checkpoints/best.ckpt"
    with pytest.raises(UserError, match=r"trained on .* of the test fold: "):
        train(configure("train=false", f"ckpt_path={second}", "data.split_seed=3", run="third"))


def own_split(tmp_path, **changed):
    """Write the split of the first run with other folds for some ids; return its option."""
    split = pd.read_csv(tmp_path / "first/split.csv", dtype={"id": str}).set_index("id")["fold"]
    split.update(pd.Series(changed, dtype=object))
    split.to_csv(tmp_path / "split.csv")
    return f"data.split_file={tmp_path}/split.csv"


def ids_of(tmp_path, fold):
    split = pd.read_csv(tmp_path / "first/split.csv", dtype={"id": str})
    return list(split["id"][split["fold"] == fold])


def test_what_was_trained_on_is_refused_as_a_validation_radiograph(first, configure, tmp_path):
    trained, validated = ids_of(tmp_path, "train")[0], ids_of(tmp_path, "val")[0]
    options = ("sex=embedding", f"start_from={first}")
    swapped = own_split(tmp_path, **{trained: "val"})
    said = rf"trained on 1 radiograph of the validation fold: {trained}; .*data\.split_file="
    with pytest.raises(UserError, match=said):
        train(configure(*options, swapped, run="second"))
    learned_now = own_split(tmp_path, **{validated: "train"})  # trained on from now on
    train(configure(*options, learned_now, run="second"))
    second = tmp_path / "second/checkpoints/best.ckpt"
    said = rf"trained on 1 radiograph of the validation fold: {validated};"
    with pytest.raises(UserError, match=said):
        train(configure("sex=embedding", f"start_from={second}", run="third"))


@pytest.mark.slow
def test_a_chain_may_validate_on_the_same_radiographs(first, other, configure, tmp_path):
    """Also after a run on other radiographs, unless an older version kept no folds of before."""
    train(configure("sex=embedding", f"start_from={first}", f"data.root={other}", run="second"))
    second = tmp_path / "second/checkpoints/best.ckpt"
    train(configure("sex=embedding", f"start_from={second}", run="third"))
    third = tmp_path / "third/checkpoints/best.ckpt"
    train(configure("sex=embedding", f"start_from={third}", run="fourth"))
    for path in (second, third):
        checkpoint = torch.load(path, weights_only=True)
        del checkpoint["boneage"]["earlier"]["fold"]
        torch.save(checkpoint, path)
    train(configure("sex=embedding", f"start_from={third}", run="fifth"))
    with pytest.raises(UserError, match=r"trained on .* of the validation fold: "):
        train(configure("sex=embedding", f"start_from={second}", run="sixth"))


@pytest.mark.parametrize("path", ["builtin", "model.onnx"])
def test_weights_of_an_exported_file_are_taken_over(
    exported, configure, tmp_path, monkeypatch, path
):
    monkeypatch.setattr("boneage.run.checkpoint_file.BUILTIN", exported / "model.onnx")
    start = path if path == "builtin" else exported / path
    frozen = ("sex=embedding", "seed=8", "optimizer.weight_decay=0", FROZEN)
    train(configure(*frozen, f"start_from={start}", run="second"))
    before, after = learned(exported / "run"), learned(tmp_path / "second")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_an_exported_file_was_trained_on_is_refused(exported, configure, tmp_path):
    file = exported / "model.onnx"
    said = r"of the test fold are also those of the model's training radiographs.*with a prefix"
    with pytest.raises(UserError, match=said):
        train(configure(f"start_from={file}", "data.split_seed=3"))
    (tmp_path / "first").symlink_to(exported / "run")
    swapped = own_split(tmp_path, **{ids_of(tmp_path, "train")[0]: "val"})
    with pytest.raises(UserError, match=said.replace("test", "validation")):
        train(configure(f"start_from={file}", swapped))
    train(configure("sex=embedding", f"start_from={file}", run="second"))
    loaded = read_checkpoint(tmp_path / "second/checkpoints/best.ckpt")
    loaded["boneage"]["split"]["fold"] = ["test"] * len(loaded["boneage"]["split"]["id"])
    ids = loaded["boneage"]["earlier"]["id"]
    table = pd.DataFrame({"id": ids, "age_months": 100.0, "fold": "test"})
    with pytest.raises(UserError, match=said):  # also by what was trained from it
        check_unseen(loaded, table)
    check_unseen(loaded, table.assign(id="ward-" + table["id"]))


def test_an_exported_file_is_not_resumed(exported, configure):
    with pytest.raises(UserError, match=r"ckpt_path=.*model\.onnx.*start_from=.*train=false"):
        train(configure(f"ckpt_path={exported / 'model.onnx'}"))


def test_onnx_files_of_others_are_refused(tmp_path):
    import onnx

    path = tmp_path / "other.onnx"
    with pytest.raises(UserError, match="No such file"):
        read_checkpoint(path)
    path.write_bytes(b"no model")
    with pytest.raises(UserError, match="not a complete ONNX file"):
        read_checkpoint(path)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([], "other", [value], [value])
    model = onnx.helper.make_model(graph)
    for terms, said in (
        (None, "lacks the metadata that boneage export writes"),
        ("{", "export the run again"),
        ('{"task": "regression"}', "export the run again"),
        ('{"schema": 2}', "update boneage"),
    ):
        if terms is not None:
            onnx.helper.set_model_props(model, {"boneage": terms})
        onnx.save(model, path)
        with pytest.raises(UserError, match=said):
            read_checkpoint(path)


def test_an_exported_file_runs_no_code_when_it_is_built(exported):
    loaded = read_checkpoint(exported / "model.onnx")
    loaded["boneage"]["config"]["backbone"]["_target_"] = "os.system"
    with pytest.raises(UserError, match=r"code outside this project: os\.system"):
        load_model(loaded)
