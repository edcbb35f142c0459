"""The cache of decoded radiographs: complete or absent, whatever happens to the build."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import platformdirs
import pytest
from helpers import decode

from boneage.data import cache as cache_module
from boneage.data.atomic import build_lock, default_cache_dir
from boneage.data.cache import check_readable, open_cache
from boneage.data.decode import Preprocessing
from boneage.errors import UserError, amount

SMALL = Preprocessing(size=16)


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    for path in paths:
        cv2.imwrite(path, rng.integers(0, 256, (20, 24), dtype=np.uint8))
    return pd.DataFrame({"id": [str(i) for i in range(6)], "path": paths})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def images(cache):
    return np.load(cache.path, mmap_mode="r")


def built(folder):
    """Keys of complete caches, and nothing else may be there but the lock."""
    names = {entry.name for entry in folder.iterdir()} - {"build.lock"}
    assert all(len(name) == 64 for name in names), names
    return names


def test_pixels_are_those_of_the_files(table, folder):
    cache = open_cache(table, SMALL, folder)
    assert images(cache).dtype == np.uint8
    assert images(cache).shape == (6, 16, 16)
    for pixels, path in zip(images(cache), table["path"], strict=True):
        assert np.array_equal(pixels, decode(path, SMALL))
    assert cache.unreadable == {}
    assert len(built(folder)) == 1


def test_many_files_are_decoded_in_a_pool(table, folder):
    many = table.iloc[np.arange(120) % 6]
    many.iloc[70, 1] = many.iloc[3, 1].replace("3.png", "gone.png")
    cache = open_cache(many, SMALL, folder, workers=2)
    expected = np.stack([decode(path, SMALL) for path in table["path"]])[np.arange(120) % 6]
    expected[70] = 0
    assert np.array_equal(images(cache), expected)
    assert list(cache.unreadable) == [70]


def test_second_opening_decodes_and_writes_nothing(table, folder, monkeypatch):
    first = open_cache(table, SMALL, folder)
    (folder / "build.lock").unlink()
    monkeypatch.setattr(cache_module, "decode_files", None)
    assert open_cache(table.assign(age_months=3.0), Preprocessing(16), folder) == first
    assert not (folder / "build.lock").exists()


def test_key_follows_files_options_and_table(table, folder, monkeypatch):
    def opened(table=table, preprocessing=SMALL):
        return open_cache(table, preprocessing, folder).path

    first = opened()
    others = {
        opened(preprocessing=Preprocessing(17)),
        opened(preprocessing=Preprocessing(16, fit="pad")),
        opened(preprocessing=Preprocessing(16, contrast="stretch")),
        opened(preprocessing=Preprocessing(16, crop="hand")),
        opened(table.iloc[::-1]),
        opened(table.iloc[:5]),
        opened(table.assign(id=[f"a{i}" for i in range(6)])),
    }
    assert len(others) == 7
    assert first not in others
    assert opened() == first
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "PREPROCESSING_VERSION", -1)
        assert opened() not in {first, *others}
    os.utime(table["path"][2], ns=(0, 123))
    assert opened() not in {first, *others}
    shutil.copyfile(table["path"][0], table["path"][5])
    assert np.array_equal(np.load(opened())[5], np.load(opened())[0])


def test_unreadable_files(table, folder, tmp_path, caplog):
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[:100])
    (tmp_path / "4.png").unlink()
    for _ in ("built", "opened again"):
        cache = open_cache(table, SMALL, folder)
        assert cache.unreadable == {
            1: f"{tmp_path / '1.png'}: truncated or damaged",
            4: f"{tmp_path / '4.png'}: No such file or directory",
        }
        assert not images(cache)[[1, 4]].any()
    with pytest.raises(
        UserError, match=r"2 of 6 .*1\.png: truncated.*data\.unreadable=drop"
    ) as caught:
        check_readable(table, cache, "error")
    assert "\n" not in str(caught.value)
    assert not caplog.records
    assert check_readable(table, cache, "drop").tolist() == [0, 2, 3, 5]
    assert "Left out: 2 of 6 radiographs" in caplog.text
    with pytest.raises(UserError, match=r"data\.unreadable=skip"):
        check_readable(table, cache, "skip")
    (tmp_path / "1.png").write_bytes(whole)  # mended: decoded anew
    assert list(open_cache(table, SMALL, folder).unreadable) == [4]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_file_that_the_system_cannot_read_is_read_once_it_can(table, folder, monkeypatch, code):
    locked, opened = [table["path"][2], table["path"][4]], Path.open
    with monkeypatch.context() as patch:  # root may read everything: chmod would not do

        def refuse(path, *args, **kwargs):
            if str(path) in locked:
                raise OSError(code, os.strerror(code), str(path))
            return opened(path, *args, **kwargs)

        patch.setattr(Path, "open", refuse)
        first = open_cache(table, SMALL, folder)
        why = {row: f"{table['path'][row]}: {os.strerror(code)}" for row in (2, 4)}
        assert first.unreadable == why
        with monkeypatch.context() as patch_again:
            patch_again.setattr(cache_module, "decode_files", None)
            assert open_cache(table, SMALL, folder) == first
        del locked[0]
        assert open_cache(table, SMALL, folder).unreadable == {4: why[4]}
    assert open_cache(table, SMALL, folder).unreadable == {}
    monkeypatch.setattr(cache_module, "decode_files", None)
    assert open_cache(table, SMALL, folder).unreadable == {}


def test_none_readable(table, folder, caplog):
    for path in table["path"]:
        Path(path).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"^6 of 6 radiographs cannot be read: .*; replace them$"):
        check_readable(table, open_cache(table, SMALL, folder), "drop")
    assert "Left out" not in caplog.text


def test_all_readable(table, folder):
    assert check_readable(table, open_cache(table, SMALL, folder), "error").tolist() == [*range(6)]


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("BONEAGE_CACHE", str(tmp_path / "mine"))
    assert default_cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("BONEAGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir().name == "boneage"


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_new_cache_of_patients_is_private(monkeypatch, tmp_path):
    """On many servers, users may enter the home folders of others."""
    monkeypatch.delenv("BONEAGE_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "home" / name)
    shared, before = tmp_path / "shared", os.umask(0o022)
    try:
        for folder in (default_cache_dir(), shared):
            with build_lock(folder):
                pass
    finally:
        os.umask(before)
    assert (default_cache_dir().stat().st_mode & 0o777) == 0o700
    assert (shared.stat().st_mode & 0o777) == 0o755


def test_folder_that_cannot_be_written(table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/cache cannot be written.*data\.cache_dir="):
        open_cache(table, SMALL, tmp_path / "file/cache")


@pytest.mark.parametrize(
    ("n_bytes", "said"),
    [(0, "0 kB"), (1200, "1 kB"), (4.2e6, "4.2 MB"), (64e6, "64 MB"), (83.2e9, "83 GB")],
)
def test_amounts_are_said_in_a_unit_that_fits(n_bytes, said):
    assert amount(n_bytes) == said


def test_too_little_space(table, folder, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage(free=1000))
    with pytest.raises(UserError, match=r"\d+ kB needed, 1 kB free.*data\.cache_dir="):
        open_cache(table, SMALL, folder)
    assert not built(folder)


def test_incomplete_cache_is_built_again(table, folder):
    cache = open_cache(table, SMALL, folder)
    expected = images(cache).copy()
    (cache.path.parent / "cache.json").unlink()
    assert np.array_equal(images(open_cache(table, SMALL, folder)), expected)


def flip_a_byte(folder):
    with (folder / "images.npy").open("r+b") as file:
        file.seek(200)  # of the first radiograph
        byte = file.read(1)[0]
        file.seek(200)
        file.write(bytes([byte ^ 1]))


def cut_off(folder):
    os.truncate(folder / "images.npy", 1000)


def lose_the_images(folder):
    (folder / "images.npy").unlink()


def spoil_the_description(folder):
    (folder / "cache.json").write_text("{")


def change(folder, **changes):
    file = folder / "cache.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def store_text_for_rows(folder):
    change(folder, unreadable={"a": "b"})


def store_a_row_too_many(folder):
    change(folder, inaccessible=[99])


def store_other_pixels(folder):
    shape = np.load(folder / "images.npy").shape
    np.save(folder / "images.npy", np.zeros(shape, np.float32))
    change(folder, checksum=cache_module._checksum(folder / "images.npy"))


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        cut_off,
        lose_the_images,
        spoil_the_description,
        store_text_for_rows,
        store_a_row_too_many,
        store_other_pixels,
    ],
)
def test_damaged_cache_is_built_again(table, folder, caplog, monkeypatch, damage):
    monkeypatch.setattr(cache_module, "BYTES_READ_AT_ONCE", 64)  # of many
    cache = open_cache(table, SMALL, folder)
    expected = images(cache).copy()
    damage(cache.path.parent)
    assert np.array_equal(images(open_cache(table, SMALL, folder)), expected)
    assert caplog.text.count("is damaged: decoding again") == 1
    caplog.clear()
    open_cache(table, SMALL, folder)
    assert not caplog.records


def test_the_description_is_read_once(table, folder, monkeypatch):
    built = open_cache(table, SMALL, folder)
    texts = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda text: texts.append(text) or loads(text))
    assert open_cache(table, SMALL, folder) == built
    assert len(texts) == 1


def test_a_build_leaves_other_folders_alone(table, folder):
    own = folder / "partial-scans/film.png"
    own.parent.mkdir(parents=True)
    own.touch()
    open_cache(table, SMALL, folder)
    assert own.exists()


BUILD = """
import logging, sys
import pandas as pd
import platformdirs
from pathlib import Path
from boneage.data.cache import open_cache
from boneage.data.decode import Preprocessing
from boneage.errors import UserError
logging.basicConfig(level="INFO", format="%(message)s")
table = pd.read_csv(sys.argv[1], dtype=str)
try:
    open_cache(table, Preprocessing(size=16), Path(sys.argv[2]), workers=2)
except UserError as error:
    print(error)
"""


@pytest.fixture
def start(tmp_path, folder):
    """Start a build of 150 slow radiographs in a process of its own."""
    noise = np.random.default_rng(0).integers(0, 256, (700, 1000), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "slow.png"), noise)
    slow = pd.DataFrame({"id": range(150), "path": str(tmp_path / "slow.png")}).astype(str)
    slow.to_csv(tmp_path / "slow.csv", index=False)
    command = [sys.executable, "-c", BUILD, str(tmp_path / "slow.csv"), str(folder)]
    processes = []

    def run(**options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, start_new_session=True, **pipes, **options))
        return processes[-1]

    yield run
    for process in processes:
        with suppress(ProcessLookupError):  # its pool may outlive it, and keep the pipe open
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


def wait_for_partial(folder):
    deadline = time.monotonic() + 30
    while not list(folder.glob("boneage-partial-*/images.npy")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_build_leaves_nothing_to_trust(start, folder, table):
    process = start()
    wait_for_partial(folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(folder.glob("boneage-partial-*"))) == 1
    assert not [entry for entry in folder.iterdir() if len(entry.name) == 64]
    cache = open_cache(table, SMALL, folder)
    assert built(folder) == {cache.path.parent.name}


def test_interrupted_build_cleans_up(start, folder):
    process = start()
    wait_for_partial(folder)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert built(folder) == set()


@pytest.mark.slow
def test_two_builds_at_once(start, folder, tmp_path):
    processes = [start(), start()]
    output = "".join(process.communicate(timeout=60)[0] for process in processes)
    assert output.count("Decoded 150 radiographs") == 1, output
    assert "Waiting for another run" in output
    (key,) = built(folder)
    expected = decode(tmp_path / "slow.png", SMALL)
    assert (np.load(folder / key / "images.npy") == expected).all()


def test_full_disk(start, folder):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    output = start(preexec_fn=limit).communicate(timeout=30)[0]
    assert "cannot be written (File too large)" in output
    assert "data.cache_dir=" in output
    assert len(output.splitlines()) == 2  # that it decodes, and what is wrong
    assert built(folder) == set()


def test_a_file_whose_name_is_not_utf_8(table, folder, tmp_path):
    name = os.path.join(tmp_path, os.fsdecode(b"R\xf6ntgen.png"))
    try:
        shutil.copy(table["path"][0], name)
    except OSError:
        pytest.skip("this disk only has names in UTF-8")
    table.loc[1, "path"] = name
    cache = open_cache(table, SMALL, folder)
    np.testing.assert_array_equal(images(cache)[0], images(cache)[1])
