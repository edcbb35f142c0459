"""The model that comes with the package."""

import json
import os
from itertools import chain

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from typer.testing import CliRunner

from boneage import Predictor
from boneage.cli.main import app
from boneage.data.phantom import expose
from boneage.data.phantom.write import FIRST_ID
from boneage.data.tables.sexes import sex_codes
from boneage.errors import UserError
from boneage.explain.methods import grad_cam
from boneage.predict.onnx_bytes import with_metadata
from boneage.predict.onnx_model import OnnxModel
from boneage.predict.radiograph import see
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.uncertainty.calibration import Correction, Intervals, Site
from boneage.weights import BUILTIN, KEY, SITE_KEY

HANDS = ((4, "female"), (9, "male"), (13, "female"), (15, "male"))
INTERVALS = {True: None, False: Intervals((1.0,) * 6)}


@pytest.fixture(scope="module")
def hands():
    return [
        expose(age, sex, 512, np.random.default_rng(i)).image for i, (age, sex) in enumerate(HANDS)
    ]


def test_it_reads_even_drawn_hands(hands):
    answers = Predictor()(hands, sex=[sex for _, sex in HANDS])
    errors = [a.age_years - age for a, (age, _) in zip(answers, HANDS, strict=True)]
    assert np.abs(errors).max() < 2.5
    assert np.corrcoef([a.age_years for a in answers], [age for age, _ in HANDS])[0, 1] > 0.95
    assert all(a.interval_years[0] < a.age_years < a.interval_years[1] for a in answers)


def test_opencv_keeps_its_threads_in_the_process_that_calls(hands, tmp_path):
    cv2.imwrite(str(tmp_path / "hand.png"), hands[0])
    threads = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        Predictor()(tmp_path / "hand.png")
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(threads)


def test_predictions_that_are_not_finite_are_refused(hands, tmp_path):
    """A damaged weight: the answer was 0 years, with an interval and no flag."""
    model = onnx.load(BUILTIN)
    damaged = next(i for i in model.graph.initializer if "head" in i.name)
    weights = numpy_helper.to_array(damaged).copy()
    weights.flat[0] = np.nan
    damaged.CopyFrom(numpy_helper.from_array(weights, damaged.name))
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(UserError, match=r"damaged\.onnx cannot be used: .* not finite"):
        Predictor(tmp_path / "damaged.onnx")(hands[0])


def test_models_are_averaged_by_their_tasks_not_by_the_name_of_their_config(hands, tmp_path):
    """With task=multitask '~tasks.stage' the name is that of two tasks."""
    file = tmp_path / "other.onnx"
    contract = OnnxModel(BUILTIN).contract

    def write(**changed):
        model = onnx.load(BUILTIN)
        if "stage" in changed.get("tasks", ()):
            model.graph.node.append(onnx.helper.make_node("Identity", ["age"], ["stage"]))
            stage = onnx.helper.make_tensor_value_info("stage", onnx.TensorProto.FLOAT, ["n"])
            model.graph.output.append(stage)
        onnx.helper.set_model_props(model, {KEY: json.dumps(contract | changed)})
        onnx.save(model, file)

    write(tasks=contract["tasks"] | {"stage": ["stage_probability_child"]})
    for models in ([BUILTIN, file], [file, BUILTIN]):
        with pytest.raises(UserError, match="differ in their tasks: they cannot be averaged"):
            Predictor(models)
    write(name="renamed")
    answer = Predictor([BUILTIN, file])(hands[0])
    assert answer.age_years == pytest.approx(Predictor()(hands[0]).age_years)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tasks": {"age": ["age_years_predicted", "stage"]}}, "2 columns for tasks.age"),
        ({"tasks": {"sex": ["male_probability"]}}, "1 column for tasks.sex"),
        ({"calibration": {"half_widths_years": {"sex_known": [1.0]}}}, r"but has \[1.0\]"),
        ({"calibration": {"half_widths_years": {"sex_known": [-1] * 6}}}, "needs 6 half_widths"),
    ],
)
def test_a_contract_that_does_not_fit_its_outputs_is_one_line(tmp_path, changed, said):
    contract = OnnxModel(BUILTIN).contract | changed
    file = tmp_path / "odd.onnx"
    file.write_bytes(with_metadata(BUILTIN.read_bytes(), KEY, json.dumps(contract)))
    with pytest.raises(UserError, match=rf"{file} cannot be used: its contract .*{said}"):
        OnnxModel(file)


@pytest.mark.parametrize(
    ("site", "lacking"), [(None, "intervals and no novelty"), (INTERVALS, "novelty")]
)
def test_what_a_model_without_calibration_lacks(hands, tmp_path, caplog, site, lacking):
    """`boneage calibrate` fits intervals to a model that has none."""
    model = onnx.load(BUILTIN)
    (novelty,) = [output for output in model.graph.output if output.name == "novelty"]
    model.graph.output.remove(novelty)
    contract = OnnxModel(BUILTIN).contract | {"calibration": {"half_widths_years": {}}}
    onnx.helper.set_model_props(model, {KEY: json.dumps(contract)})
    content = model.SerializeToString()
    if site:
        content = with_metadata(content, SITE_KEY, json.dumps(Site(Correction(), site).plain()))
    (tmp_path / "bare.onnx").write_bytes(content)
    answer = Predictor(tmp_path / "bare.onnx")(hands[0])
    assert caplog.messages == [
        f"{tmp_path / 'bare.onnx'} has no calibration: it gives no {lacking}"
    ]
    assert answer.novelty is None
    assert (answer.interval_years is None) == (site is None)


def test_it_is_small_and_knows_no_ages_or_sexes_of_radiographs():
    assert BUILTIN.stat().st_size < 8_000_000
    contract = OnnxModel(BUILTIN).contract
    ids = contract["radiographs"]
    assert len({*ids["train"], *ids["val"]}) == 9068 + 1134
    assert len(ids["val"]) == 1134
    assert all(isinstance(id_, str) for own in ids.values() for id_ in own)
    assert max(map(int, chain(*ids.values()))) < FIRST_ID  # phantoms can fine-tune it
    text = json.dumps(contract)
    assert "age_months" not in text
    assert "CC BY-NC 4.0" in contract["licence"]
    assert "Halabi" in contract["citation"]


def test_torch_rebuilds_it_without_imagenet_weights(hands):
    model = OnnxModel(BUILTIN)
    squares = np.stack([see(hand, (model.preprocessing,), False).squares[0] for hand in hands])
    sexes = [sex for _, sex in HANDS]
    module = load_model(read_checkpoint(BUILTIN)).eval()
    inputs = torch.from_numpy(squares)[:, None], torch.from_numpy(sex_codes(sexes))
    with torch.inference_mode():
        ages = module.predict(*inputs)[0]["age"]
    columns, _ = model.predict(squares, sexes)
    np.testing.assert_allclose(columns["age_years_predicted"], ages, atol=1e-4)
    drawn = np.stack(
        [cv2.resize(m, squares.shape[1:]) for m in grad_cam(module, *inputs, "age").numpy()]
    )
    np.testing.assert_allclose(model.maps(squares, sexes), drawn, atol=1e-3 * np.abs(drawn).max())


def test_the_terms_are_said():
    said = " ".join(CliRunner().invoke(app, ["predict", "--help"]).output.split())
    assert "CC BY-NC 4.0" in said
    assert "not a medical device" in said


def test_it_explains_a_radiograph(tmp_path):
    cv2.imwrite(str(tmp_path / "hand.png"), expose(9, "male", 256, np.random.default_rng(0)).image)
    done = CliRunner().invoke(
        app, ["explain", str(tmp_path / "hand.png"), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.exception
    assert np.abs(np.load(tmp_path / "out/hand_age.npy")).max() > 0


def test_it_explains_the_files_that_can_be_read_whatever_their_names(tmp_path, caplog):
    hand = expose(9, "male", 256, np.random.default_rng(0)).image
    name = os.fsdecode(b"\xff\xfe")  # not UTF-8
    for stem in (name, "whole"):
        (tmp_path / f"{stem}.png").write_bytes(cv2.imencode(".png", hand)[1].tobytes())
    (tmp_path / "damaged.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    words = ["explain", str(tmp_path), "--sex", "male", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    assert [record.message.split(":")[0] for record in caplog.records] == ["Left out"]
    assert "damaged.png" in caplog.text
    assert "2 radiographs explained" in done.output
    maps = [np.load(tmp_path / f"out/{stem}_age.npy") for stem in (name, "whole")]
    np.testing.assert_array_equal(*maps)  # of the same image
    assert len(list((tmp_path / "out").iterdir())) == 3
    only = ["explain", str(tmp_path / "damaged.png"), "--out", str(tmp_path / "none")]
    assert "damaged.png" in str(CliRunner().invoke(app, only).exception)
    assert not (tmp_path / "none").exists()


def test_predictions_name_its_file_and_pages_say_what_it_is(tmp_path, hands):
    cv2.imwrite(str(tmp_path / "hand.png"), hands[0])
    words = ["predict", str(tmp_path / "hand.png"), "--report", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    about = json.loads((tmp_path / "out/predictions.json").read_text())
    assert about["checkpoints"] == [str(BUILTIN)]  # soft targets made by it are recognised
    assert "the built-in model" in (tmp_path / "out/report.html").read_text()


def test_each_radiograph_that_it_has_seen_is_in_one_fold():
    ids = read_checkpoint(BUILTIN)["boneage"]["split"]["id"]
    assert len(ids) == len(set(ids)) == 10_202


def test_its_name_stands_for_its_file(tmp_path):
    copy = tmp_path / "copy.onnx"
    done = CliRunner().invoke(app, ["export", "--checkpoint", "builtin", "--out", str(copy)])
    assert done.output.startswith(f"{copy} is a copy of the built-in model"), done.exception
    assert copy.read_bytes() == BUILTIN.read_bytes()
