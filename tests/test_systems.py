"""What Windows, macOS, network file systems, containers and a newer Python do differently."""

import argparse
import ast
import errno
import io
import logging
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock
from helpers import PROJECT, TINY, TRAIN, Page, predictions, run_train, write_finished_run
from helpers import call as call_train
from hydra.core.override_parser.overrides_parser import OverridesParser

import boneage.errors
from boneage.data.atomic import LOCK, default_cache_dir, require_writable
from boneage.data.folders import walk
from boneage.data.formats import read_radiograph
from boneage.data.parallel import in_parallel
from boneage.data.phantom.write import write_phantom
from boneage.data.radiographs import names_apart
from boneage.errors import UserError, option_word, quoted_option, shell_line
from boneage.evaluation.comparison.formats import write_tables
from boneage.evaluation.report.page import write_report
from boneage.models import inference
from boneage.run.overrides import check_overrides
from boneage.run.process import interruptible, keep_freed_memory, only_run_in
from boneage.terminal import _Output, is_terminal, relative_path

SOURCES = [
    file
    for folder in ("boneage", "studies", "benchmarks")
    for file in sorted((PROJECT / folder).rglob("*.py"))
]
TEXT_METHODS = ("read_text", "write_text")


def test_texts_name_their_encoding():
    """The default of Windows is not UTF-8."""
    lacking = []
    for file in [*SOURCES, PROJECT / "train.py"]:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = getattr(getattr(call, "func", None), "attr", None)
            if name in TEXT_METHODS and "encoding" not in {k.arg for k in call.keywords}:
                lacking.append(f"{file.relative_to(PROJECT)}:{call.lineno}")
    assert lacking == []


@pytest.mark.parametrize("given", ["home", "unknown", "as it is"])
def test_a_cache_needs_a_home_folder(given, monkeypatch, tmp_path):
    """A container with an unknown user and no HOME has none."""

    def user_cache_path(_):
        if given == "unknown":
            raise RuntimeError("could not determine the home directory")
        return tmp_path if given == "home" else Path("~/.cache/boneage")

    monkeypatch.setattr("boneage.data.atomic.platformdirs.user_cache_path", user_cache_path)
    monkeypatch.delenv("BONEAGE_CACHE", raising=False)
    if given == "home":
        assert default_cache_dir() == tmp_path
        return
    for call in (default_cache_dir, lambda: write_phantom(tmp_path / "phantom", n=1, size=64)):
        with pytest.raises(UserError, match=r"no home folder.*: set BONEAGE_CACHE to a folder$"):
            call()
    monkeypatch.setenv("BONEAGE_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path


def test_a_run_ends_although_its_open_lock_cannot_be_removed(tmp_path, monkeypatch):
    """Windows removes no open file; filelock removes it after it has closed it."""

    def unlink(path, missing_ok=False):
        raise PermissionError(13, "used by another process", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with only_run_in(tmp_path):
            pass
    with FileLock(tmp_path / LOCK, timeout=0):  # it is free again
        pass


def run_train_as_on_windows(arguments, cwd, output):
    rmtree = shutil.rmtree

    def as_on_windows(folder, *given, **named):
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler) and handler.stream is not None:
                raise PermissionError(13, "used by another process", handler.baseFilename)
        rmtree(folder, *given, **named)

    shutil.rmtree = as_on_windows
    run_train(arguments, cwd, output)


def test_a_refused_run_is_one_line_although_its_log_is_open(tmp_path):
    words = ["data=rsna", "data.root=none", "hydra.run.dir=run", *TINY]
    done = call_train(*words, cwd=tmp_path, target=run_train_as_on_windows)
    assert done.stderr == "error: data.root=none: no such folder (in boneage stress: --root)\n"
    assert done.returncode == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
def test_a_run_stopped_before_torch_is_imported_leaves_no_folder(tmp_path):
    """The folder is made first."""
    words = [sys.executable, TRAIN, "data=rsna", "data.root=none", "hydra.run.dir=run"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "run").exists():
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert said == ""
    assert not (tmp_path / "run").exists()


def test_a_run_ends_in_a_program_with_signals_of_its_own(tmp_path, monkeypatch):
    """R sets its handler before it starts Python, which knows nothing of it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    try:
        with interruptible(tmp_path):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_folder_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def acquire(lock, timeout):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    for error in (errno.ENOLCK, errno.EOPNOTSUPP):
        with only_run_in(tmp_path):
            assert f"{tmp_path}/.lock cannot be locked ({os.strerror(error)}): let" in caplog.text
    error = errno.EROFS
    told = rf"^{tmp_path}/\.lock cannot be locked \(Read-only .*\): .* hydra\.run\.dir=$"
    with pytest.raises(UserError, match=told), only_run_in(tmp_path):
        pass


def test_a_drive_that_does_not_exist_is_refused(monkeypatch):
    """There, the last parent of a folder does not exist either."""
    told = r"^nowhere/out cannot be written .*: choose another --out$"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda path: False)
        with pytest.raises(UserError, match=told):
            require_writable(Path("nowhere/out"))


def test_files_of_two_drives_are_told_apart():
    class Film(PureWindowsPath):
        def absolute(self):
            return self

    films = [Film(r"C:\a\film.png"), Film(r"D:\b\film.png")]
    assert names_apart(films) == ["C:/a/film", "D:/b/film"]
    films = [Film(r"C:\all\a\film.png"), Film(r"C:\all\b\c\film.png")]
    assert names_apart(films) == ["a/film", "b/c/film"]


def test_a_path_on_another_drive_stays_as_it_is(monkeypatch, tmp_path):
    assert relative_path(os.path.abspath("outputs/run")) == os.path.join("outputs", "run")

    def relpath(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    assert relative_path(tmp_path) == str(tmp_path)


def test_folders_without_numbers_are_all_read(tmp_path, monkeypatch):
    """Some network drives of Windows number no files: all have the number 0."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "film.png").touch()
    stat = os.stat

    def without_number(*args, **options):
        return SimpleNamespace(st_dev=1, st_ino=0, st_mode=stat(*args, **options).st_mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", without_number)
        files = [*walk(tmp_path)]
    assert files == [str(tmp_path / name / "film.png") for name in ("a", "b")]


def test_the_c_library_is_only_looked_up_on_linux(monkeypatch):
    """Elsewhere Python's own file would be read, which the store of Windows does not allow."""
    asked = []
    monkeypatch.setattr(platform, "libc_ver", lambda: asked.append(1) or ("", ""))
    monkeypatch.setattr(sys, "platform", "win32")
    keep_freed_memory()
    assert asked == []


def test_folders_may_have_any_letters(tmp_path, monkeypatch):
    """There, OpenCV opens no file in a folder such as that of a user named Jürgen."""
    table = predictions().assign(id=lambda table: table.index.astype(str))
    folder = write_finished_run(tmp_path / "Jürgen" / "run", table)
    (folder / "gradcam").mkdir()
    for name, image in (("age_test", np.zeros((8, 8), np.uint8)), ("age_epoch_001", None)):
        png = b"" if image is None else cv2.imencode(".png", image)[1].tobytes()
        (folder / f"gradcam/{name}.png").write_bytes(png)
    monkeypatch.setattr(cv2, "imread", lambda *_: None)
    monkeypatch.setattr(cv2, "imwrite", lambda *_: False)
    text = Page(write_report(folder).read_text(encoding="utf-8")).text
    assert "age test" in text
    assert "age epoch" not in text  # it is damaged
    monkeypatch.setenv("BONEAGE_CACHE", str(tmp_path))
    root = write_phantom(tmp_path / "Jürgen" / "phantom", n=1, size=64)
    image, _ = read_radiograph(root / "boneage-training-dataset/100001.png")
    assert image.shape[0] == 64


def test_a_table_for_a_paper_has_the_line_ends_that_printing_translates(monkeypatch):
    monkeypatch.setattr(os, "linesep", "\r\n")
    assert "\r" not in write_tables([], "csv")


def test_predictions_are_in_double_precision_only_on_the_host(monkeypatch):
    """An Apple GPU has no float64."""
    host = []

    def cpu(values):
        host.append(values)
        return values

    double = torch.Tensor.double

    def on_host(values):
        assert any(values is moved for moved in host)
        return double(values)

    class Model:
        device = torch.device("cpu")
        tasks = {"age": SimpleNamespace(decode=lambda output: output, unit="years")}  # noqa: RUF012

        def __call__(self, image, sex):
            return {"age": image.float().mean((1, 2, 3))}

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "double", on_host)
    images = np.full((2, 4, 4), 7, np.uint8)
    decoded, _ = inference.predictor(Model(), images, torch.tensor([0, 1]), "age")
    assert decoded(images).tolist() == [7.0, 7.0]
    assert decoded(images).dtype == np.float64


@pytest.mark.parametrize("stream", [None, SimpleNamespace(write=len, flush=int)])
def test_an_output_that_cannot_tell_what_it_is_is_no_terminal(stream, monkeypatch):
    """Some notebooks replace it by an object that only writes."""
    monkeypatch.setattr(sys, "stdout", stream)
    assert not is_terminal()
    assert [*in_parallel(abs, [-1, 2], "Decoding")] == [1, 2]


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL])  # the second on Windows
def test_a_pipe_without_a_reader_is_no_error(number, tmp_path):
    class Pipe(io.FileIO):
        def write(self, data):
            raise OSError(number, os.strerror(number))

    class Output(_Output, Pipe):
        """The output, of such a pipe."""

    with (tmp_path / "file").open("wb") as file:
        assert Output(file.fileno(), True).write(b"text") == 4


def words_of(line):
    """Return the words of a command, by the rules of Microsoft's C runtime."""
    words, quoted = [""], False
    for slashes, char in re.findall(r"(\\*)([^\\]|\Z)", line, re.DOTALL):
        words[-1] += slashes if char != '"' else "\\" * (len(slashes) // 2)
        if char == '"' and len(slashes) % 2 == 0:
            quoted = not quoted
        elif char == " " and not quoted:
            words.append("")
        else:
            words[-1] += char
    return words


def test_the_words_of_microsoft():
    """Examples of its documentation."""
    assert words_of(r'"a b c" d e') == ["a b c", "d", "e"]
    assert words_of(r'"ab\"c" "\\" d') == ['ab"c', "\\", "d"]
    assert words_of(r'a\\\b d"e f"g h') == [r"a\\\b", "de fg", "h"]
    assert words_of(r"a\\\"b c d") == [r"a\"b", "c", "d"]
    assert words_of(r'a\\\\"b c" d e') == [r"a\\b c", "d", "e"]


PATHS = [
    r"C:\Users\me\rsna", r"C:\Users\Jane Doe\hands (2)", "C:\\a b\\", r"\\server\share\x",
    r"\\server\a share\x", "it's", r"C:\Jane's\a=b;c", "[b]", "a,b", "ä", "a&b", 'a"b c', "C:\\'a",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("write", [option_word, quoted_option])
def test_a_path_comes_back_from_a_command_on_windows(write, path, monkeypatch):
    monkeypatch.setattr(boneage.errors, "WINDOWS", True)
    line = write("data.root", path)
    assert not line.startswith("'")  # its shells do not know them
    (word,) = words_of(line)
    assert OverridesParser.create().parse_override(word).value() == path
    words = ["python", "train.py", f"data.root={path}"]
    assert words_of(shell_line(*words)) == words


def test_a_shared_folder_does_not_lose_a_backslash(monkeypatch):
    monkeypatch.setattr(boneage.errors, "WINDOWS", True)
    option, folder = "hydra.run.dir", r"\\server\share\x"
    argument = f"{option}={folder}"
    assert OverridesParser.create().parse_override(argument).value() != folder
    with pytest.raises(UserError, match=r"^hydra\.run\.dir=.* would lose a backslash") as caught:
        check_overrides([argument], PROJECT / "conf")
    (word,) = words_of(str(caught.value).partition("quote it: ")[2])
    assert OverridesParser.create().parse_override(word).value() == folder
    check_overrides([word], PROJECT / "conf")


def test_a_usual_path_needs_no_quotation_marks_on_windows(monkeypatch):
    monkeypatch.setattr(boneage.errors, "WINDOWS", True)
    folder = PureWindowsPath(r"C:\Users\me\outputs\age\2026-11-30_10-05-06-123456")
    word = "data.root=C:/Users/me/outputs/age/2026-11-30_10-05-06-123456"
    assert option_word("data.root", folder) == word
    assert OverridesParser.create().parse_override(word).value() == folder.as_posix()


def test_help_that_is_no_text_is_accepted_by_python_3_14(monkeypatch):
    """It checks the help of each option that a parser gets; that of Hydra's completion is lazy."""
    container = argparse._ActionsContainer
    added = container.add_argument

    def checked(self, *names, **options):
        action = added(self, *names, **options)
        self._check_help(action)
        return action

    def check(self, action):
        if action.help and "%" in action.help:
            self._get_formatter()._expand_help(action)

    monkeypatch.setattr(container, "_check_help", check, raising=False)
    monkeypatch.setattr(container, "add_argument", checked)
    check_overrides(["task=regression"], PROJECT / "conf")
