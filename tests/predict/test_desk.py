"""Prediction where the framework is not installed."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import boneage as package
from boneage.cli.main import app
from boneage.data.phantom import expose
from boneage.errors import FRAMEWORK, UserError
from boneage.predict.answer import Answer, table_of
from boneage.predict.answering import RADIOGRAPHS_IN_MEMORY
from boneage.predict.onnx_bytes import with_metadata
from boneage.predict.predictor import Predictor

OTHER = "typing_extensions"  # of the framework, but pydantic needs it too
BLOCK = f"""
import sys

class Missing:
    NAMES = {tuple(name for name in FRAMEWORK if name != OTHER)}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.NAMES:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def desk(code, *words):
    """Run code in a process in which the framework cannot be imported."""
    command = [sys.executable, "-c", BLOCK + textwrap.dedent(code), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def boneage(*words):
    return desk("from boneage.cli.main import main; main()", *words)


def refusals(*commands):
    """Return what each command says that fails, one after the other in one such process."""
    code = """
        import json
        from boneage.cli.main import main
        for sys.argv[1:] in json.loads(sys.argv[1]):
            try:
                main()
            except SystemExit as ended:
                print(json.dumps(ended.code))
    """
    done = desk(code, json.dumps([[str(word) for word in words] for words in commands]))
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def model(exported):
    return exported / "model.onnx"


@pytest.fixture
def film(tmp_path):
    image = expose(10, "female", 256, np.random.default_rng(0)).image
    cv2.imwrite(str(tmp_path / "hand.png"), image)
    return tmp_path / "hand.png"


def test_nothing_about_the_machine_is_stored_or_sent(film, tmp_path):
    """onnxruntime would keep an id of the machine in the home folder, and look up a server."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-m", "boneage", "predict", film]
    done = subprocess.run(
        command, env={**kept, "HOME": str(home)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_one_file_is_answered(model, film):
    done = boneage("predict", film, "--checkpoint", model, "--sex", "female")
    assert done.returncode == 0, done.stderr
    assert "bone age" in done.stdout
    assert "not a medical device" in done.stdout


def test_a_folder_gets_tables_and_cards_with_maps(model, film, tmp_path):
    out = tmp_path / "out"
    done = boneage("predict", film.parent, "--checkpoint", model, "--report", "--out", out)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads((out / "predictions.json").read_text())["predictions"]
    assert answer["status"] == "ok"
    assert (out / answer["picture"]).stat().st_size > 1000
    assert "hand" in (out / "report.html").read_text()


def test_an_image_that_was_removed_is_drawn_again(model, film, tmp_path):
    """Resuming ended in the advice to resume."""
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(film, films / name)
    words = ["predict", str(films), "--checkpoint", str(model), "--report", "--out", str(out)]
    assert CliRunner().invoke(app, words).exit_code == 0
    for file in (out / "pictures").iterdir():
        file.unlink()
    (films / "b.png").unlink()
    done = CliRunner().invoke(app, [*words, "--resume"], catch_exceptions=False)
    assert done.exit_code == 0
    table = pd.read_csv(out / "predictions.csv").set_index("id")
    assert (out / table.loc["a", "picture"]).is_file()
    assert (out / "report.html").read_text().count("<img") == 1


def test_a_card_names_the_stage(model, film, tmp_path):
    done = boneage("predict", film, "--checkpoint", model, "--report", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out/report.html").read_text()
    (answer,) = json.loads((tmp_path / "out/predictions.json").read_text())["predictions"]
    assert f"stage {answer['stage']}" in page
    assert "Bone ages of 1 radiograph<" in page


def test_the_python_interface(model, film):
    code = """
        import sys
        from boneage import Predictor
        answer = Predictor(sys.argv[1])(sys.argv[2], sex="female")
        print(answer.age_years, answer.sex)
    """
    done = desk(code, model, film)
    assert done.returncode == 0, done.stderr
    age, sex = done.stdout.split()
    assert 0 <= float(age) < 25
    assert sex == "female"


def test_what_needs_the_framework_says_so(model, film):
    run = model.parent / "run"
    needing = ["predict", film], ["stress"]
    said = refusals(
        *([*words, "--checkpoint", run] for words in needing), ["compare", model.parent]
    )
    assert len(said) == 3
    for line in said:
        assert line.startswith("error: this needs the framework"), line
        assert 'pip install ".[train]"' in line


def test_radiographs_are_made_and_counted_without_the_framework(tmp_path):
    made = boneage("phantom", tmp_path / "hands", "--n", 2, "--size", 64)
    assert made.returncode == 0, made.stderr
    counted = boneage("verify", tmp_path / "hands")
    assert (counted.returncode, counted.stdout.split()) == (0, ["train", "2"]), counted.stderr


@pytest.mark.slow
def test_the_built_in_model_is_fitted_to_a_site(tmp_path):
    films, out, rng = tmp_path / "films", tmp_path / "site.onnx", np.random.default_rng(0)
    films.mkdir()
    for i, age in enumerate(np.linspace(2, 18, 20)):
        cv2.imwrite(str(films / f"{i}.png"), expose(age, "female", 256, rng).image)
    answers = Predictor()(sorted(films.iterdir()))
    table = pd.DataFrame({"id": [a.id for a in answers], "years": [a.age_years for a in answers]})
    table["years"] += 0.5
    table.to_csv(tmp_path / "readings.csv", index=False)
    words = ["--table", tmp_path / "readings.csv", "--out", out, "--column", "age=years"]
    done = boneage("calibrate", films, *words, "--age-unit", "years")
    assert done.returncode == 0, done.stderr
    assert "unknown: +0.50 years" in done.stdout
    film = films / "0.png"
    assert Predictor(out)(film).age_years == pytest.approx(Predictor()(film).age_years + 0.5)


@pytest.mark.slow
def test_what_is_no_checkpoint_is_told_without_the_framework(film, tmp_path):
    (tmp_path / "notes.ckpt").write_text("no weights")
    (tmp_path / "nothing.ckpt").touch()
    (tmp_path / "empty").mkdir()
    expected = {
        tmp_path / "gone.ckpt": "cannot be loaded: No such file",
        tmp_path / "notes.ckpt": "is not a boneage checkpoint: it is a text file",
        film: "is not a boneage checkpoint: it is an image",
        tmp_path / "nothing.ckpt": "cannot be loaded: the file is empty",
        tmp_path / "empty": "contains no checkpoint: give",
    }
    lines = refusals(*(["predict", film, "--checkpoint", path] for path in expected))
    for line, (path, said) in zip(lines, expected.items(), strict=True):
        assert line.startswith("error: ")
        assert path.name in line
        assert said in line


def test_an_age_in_the_wrong_unit_is_flagged(model, film):
    predictor = Predictor(model)
    told = predictor(film, sex="male").age_years
    year = predictor(film, sex="male", age_years=1.0)
    assert year.sd_score > 8  # a phantom of many years
    asked = f"SD score {year.sd_score:+.1f}: is the chronological age right, and its unit?"
    assert year.flags[-1] == asked
    assert asked not in predictor(film, sex="male", age_years=told).flags
    for sex, age in (("male", 0.1), ("unknown", 1.0)):  # no SD score
        answer = predictor(film, sex=sex, age_years=age)
        said = "bone age far from the chronological age: is the chronological age right, and its"
        assert (answer.sd_score, answer.flags[-1]) == (None, f"{said} unit?")
    done = boneage(
        "predict", film, "--checkpoint", model, "--sex", "male", "--chronological-age", 1
    )
    assert f"SD score   {year.sd_score:+.1f} at a chronological age of 1.0 years" in done.stdout


@pytest.mark.parametrize(
    ("sex", "age", "expected"),
    [("m", "12,5", ("male", 12.5)), ("F", "9.25", ("female", 9.25)), ("Girl", "3", ("female", 3))],
)
def test_sex_and_age_are_read_as_in_tables(model, film, tmp_path, sex, age, expected):
    words = ["predict", str(film), "--checkpoint", str(model), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--sex", sex, "--chronological-age", age])
    assert done.exit_code == 0, done.exception
    (answer,) = json.loads((tmp_path / "out/predictions.json").read_text())["predictions"]
    assert (answer["sex"], answer["chronological_age_years"]) == expected
    assert Predictor(model)(film, sex=sex, age_years=expected[1]).sex == expected[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "--sex", "w"], "'w' is not a sex: write female, male, unknown, or M or F"),
        (["predict", "--chronological-age", "25.5"], "'25.5' is not a chronological age: give"),
        (["predict", "--chronological-age", "-1"], "'-1' is not a chronological age"),
        (["explain", "--out", "x", "--sex", "1"], "'1' is not a sex"),
    ],
)
def test_what_is_no_sex_or_age_is_one_line(model, film, words, said):
    done = CliRunner().invoke(app, [*words, str(film), "--checkpoint", str(model)])
    assert said in str(done.exception)


def test_python_gets_one_line_for_a_mistake(model, film):
    predictor = Predictor(model)
    for call, message in (
        (
            lambda: predictor(film, age_years=-3),
            "-3 is not a chronological age: give years from 0",
        ),
        (lambda: predictor(film, age_years=True), "True is not a chronological age"),
        (lambda: predictor(film, age_years="ten"), "'ten' is not a chronological age"),
        (
            lambda: predictor(film, sex="lad"),
            "'lad' is not a sex: write female, male, unknown, or M",
        ),
        (lambda: predictor(film, age_years=np.timedelta64(9, "Y")), "is not a chronological age"),
        (lambda: predictor(film, age_years=np.complex128(9)), "is not a chronological age"),
        (lambda: predictor([film], age_years=np.array(9.5)), "is not a chronological age"),
        (lambda: predictor([film], age_years=object()), "is not a chronological age"),
        (lambda: predictor([film], sex=np.array("F")), "is not a sex"),
        (
            lambda: predictor(film, sex=pd.Series(["F", "M"])),
            "^1 radiograph, but 2 values of sex: ",
        ),
        (lambda: predictor(None), "a NoneType is not a radiograph"),
        (lambda: predictor({film}), r"a set is not a radiograph: .* or list\(...\) of them"),
        (lambda: predictor(film for _ in "ab"), r"a generator is not .* or list\(...\) of them"),
        (lambda: predictor([film] * 2, sex=["male"]), "2 radiographs, but 1 value of sex: give"),
        (lambda: predictor(film, age_years=[9, 8]), "^1 radiograph, but 2 values of age_years: "),
        (lambda: predictor([film] * 2, sex={"F", "M"}), "a set of sexes or ages has no order"),
        (lambda: predictor([film] * 2, age_years={0: 5, 1: 6}), "a dict of sexes or ages has no"),
        (lambda: predictor(np.zeros((4, 4, 3), np.uint8)), r"shape \(4, 4, 3\)"),
        (lambda: predictor(np.zeros((4, 4))), "type float64"),
        (lambda: predictor(film.parent / "gone.png"), "gone.png"),
        (lambda: Predictor([]), r"model=\[\]: give a file"),
        (lambda: Predictor(5), "model=5: give a file"),
        (lambda: Predictor(b"model.onnx"), "model=b'model.onnx': give a file"),
        (lambda: Predictor([None]), r"model=\[None\]: give a file"),
        (lambda: Predictor("a\0.onnx"), "model a.*.onnx cannot be loaded: .*null"),
        (lambda: Predictor("a\0.ckpt"), "checkpoint a.*.ckpt cannot be loaded: .*null"),
        (lambda: Predictor(model, model), "^mirror=.*: give True or False; several models are a"),
        (lambda: Predictor(model, mirror="no"), "^mirror='no': give True or False"),
        (lambda: predictor(film, age_years=10**400), "00 is not a chronological age: give years"),
        (lambda: predictor(film, age_years=Decimal(30)), "'30'. is not a chronological age"),
        (lambda: predictor(film.read_bytes()), "a bytes is not a radiograph: give the path of a"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_a_wrong_sex_of_the_last_radiograph_is_said_before_the_first_is_read(model, monkeypatch):
    predictor = Predictor(model)
    monkeypatch.setattr(predictor, "_read", lambda source: pytest.fail("it was read"))
    films = [np.zeros((64, 64), np.uint8)] * (RADIOGRAPHS_IN_MEMORY + 1)
    with pytest.raises(UserError, match="'lad' is not a sex"):
        predictor(films, sex=[None] * RADIOGRAPHS_IN_MEMORY + ["lad"])


def test_paths_of_other_kinds_are_read(model, film):
    """Entries of a folder, as `os.scandir` gives them, and other objects with a path."""
    predictor = Predictor(PurePath(model))
    told = predictor(film)
    for folder in (film.parent, os.fsencode(film.parent)):
        with os.scandir(folder) as entries:
            (entry,) = [entry for entry in entries if os.fsdecode(entry.name) == film.name]
        assert predictor(entry) == told
        assert predictor([entry, PurePath(film)]) == [told, told]


@pytest.mark.parametrize("years", [Decimal("9.5"), Fraction(19, 2), np.float16(9.5)])
def test_numbers_of_every_kind_are_ages(model, film, years):
    """A database gives decimals."""
    assert Predictor(model)(film, age_years=years) == Predictor(model)(film, age_years=9.5)


def test_a_notebook_shows_what_there_is(model):
    assert "Predictor" in dir(package)
    predictor = Predictor(model, mirror=True)
    shown = repr(predictor)
    assert shown == f"Predictor(['{model}'], mirror=True)"
    assert repr(eval(shown)) == shown
    assert repr(Predictor()) == "Predictor(None, mirror=False)"


@pytest.mark.slow
def test_a_program_stays_as_it_is(exported, film):
    """Also in a process of a distributed training, whose rank is not 0."""
    code = """
        import locale, logging, os, random, signal, sys, threading, warnings
        import cv2, numpy, torch
        from boneage import Predictor
        from boneage.predict import ensemble
        from boneage.run import calibrate  # libraries may change what they like on import
        def state():
            return {
                "random": (random.getstate()[1], numpy.random.get_state()[1].tolist()),
                "torch": (torch.get_rng_state().tolist(), torch.is_grad_enabled()),
                "threads": (torch.get_num_threads(), cv2.getNumThreads()),
                "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
                "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr),
                "log": (logging.root.handlers[:], logging.root.level, logging.root.manager.disable),
                "loggers": {k: v.level for k, v in logging.root.manager.loggerDict.items()
                            if isinstance(v, logging.Logger) and v.level},
                "warnings": (warnings.filters[:], sys.warnoptions[:], numpy.geterr()),
                "system": (dict(os.environ), locale.setlocale(locale.LC_ALL), os.getcwd()),
            }
        film, *models = sys.argv[1:]
        for model in models:
            before = state()
            Predictor(model)([film] * 2, sex="F", age_years=9)
            after = state()
            changed = [name for name in before if before[name] != after[name]]
            assert not changed, (model, changed)
    """
    models = [exported / "model.onnx", exported / "run"]
    command = [sys.executable, "-c", textwrap.dedent(code), film, *models]
    environment = {**os.environ, "LOCAL_RANK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_masked_pixels_are_black(model):
    pixels = np.random.default_rng(0).integers(0, 200, (64, 64), dtype=np.uint8)
    pixels[:16] = 255
    masked = np.ma.masked_array(pixels, mask=pixels == 255)
    black = np.where(pixels == 255, 0, pixels)
    predictor = Predictor(model)
    assert predictor(masked).age_years == predictor(black).age_years
    assert predictor(masked).age_years != predictor(pixels).age_years


def test_a_predictor_goes_to_another_process(model, film, monkeypatch):
    monkeypatch.chdir(model.parent)
    predictor = Predictor(model.name, mirror=True)
    copy = pickle.dumps(predictor)
    monkeypatch.chdir(film.parent)
    assert pickle.loads(copy)(film, sex="male") == predictor(film, sex="male")
    named = Predictor("builtin")
    assert pickle.loads(pickle.dumps(named))(film) == named(film)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_threads_and_a_forked_process_share_a_predictor(model, film):
    code = """
        import os, sys
        from concurrent.futures import ThreadPoolExecutor
        from boneage import Predictor
        predictor, film = Predictor(sys.argv[1], mirror=True), sys.argv[2]
        sexes = ["F", "M"] * 12
        alone = [predictor(film, sex=sex) for sex in sexes]
        def read(sex):
            return predictor(film, sex=sex)
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(read, sexes)) == alone
            busy = threads.submit(lambda: list(map(read, sexes)))
            child = os.fork()
            if child == 0:
                os._exit(read("F") != alone[0])
            assert os.waitpid(child, 0)[1] == 0
            assert busy.result() == alone
    """
    done = desk(code, model, film)
    assert done.returncode == 0, done.stderr


def test_pixels_in_the_byte_order_of_another_machine_are_read(model, film):
    """As those of a TIFF or DICOM file in big-endian order."""
    pixels = cv2.imread(str(film), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257
    predictor = Predictor(model)
    answers = predictor([pixels.astype(order) for order in ("<u2", ">u2")])
    assert answers[0].status == "ok"
    assert answers[0].age_years == answers[1].age_years


def test_lists_arrays_and_files_agree(model, film):
    predictor, pixels = Predictor(model), cv2.imread(str(film), cv2.IMREAD_GRAYSCALE)
    one = predictor(film, sex="male", age_years=9.5)
    answers = predictor([film, pixels, film.parent / "gone.png"], sex="male", age_years=9.5)
    for told in ("9,5", np.full(3, 9.5), pd.Series([9.5] * 3)):  # a text is one age
        same = predictor([film, pixels, film.parent / "gone.png"], sex="male", age_years=told)
        assert [a.sd_score for a in same] == [a.sd_score for a in answers]
    assert [answer.status for answer in answers] == ["ok", "ok", "error"]
    assert answers[0] == one
    assert answers[1].age_years == one.age_years
    assert answers[1].interval_years == one.interval_years
    assert answers[0].chronological_age_years == 9.5


def test_what_cannot_be_read_costs_one_answer_of_a_list(model, film):
    wrong = [
        (None, "a NoneType is not a radiograph"),
        (np.zeros((4, 4)), "type float64"),
        (np.zeros((4, 4, 3), np.uint8), "shape (4, 4, 3)"),
        (np.zeros((0, 4), np.uint8), "shape (0, 4)"),
        ("a\0.png", "null byte"),
        (300 * "x", "too long"),
        (film.parent, "is not a radiograph file; it is a folder: give the files in it"),
    ]
    predictor = Predictor(model)
    alone = predictor(film, sex="male")
    for given, said in wrong:
        answer, other = predictor([given, film], sex="male")
        assert (answer.status, other) == ("error", alone)
        assert said in answer.reason
        with pytest.raises(UserError, match=re.escape(said)):
            predictor(given)


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.ma.masked]
)
def test_a_missing_value_is_unknown(model, film, missing):
    predictor = Predictor(model)
    unknown = predictor(film)
    assert (unknown.sex, unknown.chronological_age_years) == ("unknown", None)
    assert predictor(film, sex=missing, age_years=missing) == unknown
    assert predictor([film], sex=missing, age_years=missing) == [unknown]
    table = pd.DataFrame({"sex": ["M", missing], "age": [9.5, missing]})
    answers = predictor([film, film], sex=table["sex"], age_years=table["age"])
    assert answers == [predictor(film, sex="M", age_years=9.5), unknown]


def test_one_value_in_a_list_is_that_of_the_only_radiograph(model, film):
    predictor = Predictor(model)
    assert predictor(film, sex=["F"], age_years=[9]) == predictor(film, sex="F", age_years=9)


def test_answers_are_a_table(model, film):
    answers = Predictor(model)([film, film.parent / "gone.png"])
    table, empty = table_of(answers), table_of([])
    assert list(table["status"]) == ["ok", "error"]
    assert list(empty) == [name for name in table if name in Answer.__dataclass_fields__]
    assert empty.empty


def test_a_damaged_contract_is_one_line(model, tmp_path):
    content = model.read_bytes()
    for name, metadata, message in (
        ("lacks", '{"schema": 1}', "contract is damaged"),
        ("text", "no json", "contract is damaged"),
        ("nested", "[" * 100_000, "contract is damaged"),
        ("newer", '{"schema": 99}', "another version of boneage: update"),
    ):
        path = tmp_path / f"{name}.ONNX"
        path.write_bytes(with_metadata(content, "boneage", metadata))
        with pytest.raises(UserError, match=message):
            Predictor(path)


def test_the_package_is_imported_at_once():
    code = (
        "import sys, boneage; sys.exit(sum(m in sys.modules for m in ('numpy', 'cv2', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
