"""Decoders are muted without harm to other threads and processes."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.data.decoders import NO_WARNINGS, muted_decoders, shared


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "hand.png"
    cv2.imwrite(str(path), np.arange(64, dtype=np.uint8).reshape(8, 8))
    return path


def run(code: str, film: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, str(film)], capture_output=True, text=True, timeout=20
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_process_that_is_forked_while_a_thread_decodes_reads_too(film):
    """It would wait for a lock that nobody in it releases, and its stderr would be lost."""
    code = """
import os, sys, threading
from boneage.data.decoders import muted_decoders
from boneage.data.images import read_image
inside, decoded = threading.Event(), threading.Event()
def decode():
    with muted_decoders():
        inside.set()
        decoded.wait(1)
threading.Thread(target=decode).start()
inside.wait()
child = os.fork()
if child == 0:
    total = read_image(sys.argv[1]).sum()
    os.write(2, f"the child read {total}".encode())
    os._exit(0)
decoded.set()
os.waitpid(child, 0)
"""
    assert run(code, film).stderr == "the child read 2016"


@pytest.mark.parametrize("closed", [(2,), (0, 2)])
def test_a_process_without_a_terminal_reads(film, closed):
    code = f"""
import os, sys
from boneage.data.images import read_image
for closed in {closed}:
    os.close(closed)
print(read_image(sys.argv[1]).sum())
try:
    os.fstat(2)
except OSError:
    print("closed")
"""
    assert run(code, film).stdout.split() == ["2016", "closed"]


def test_messages_are_kept_and_the_terminal_is_back(capfd, monkeypatch):
    monkeypatch.setattr("threading.active_count", lambda: 1)  # pytest may have its own
    with muted_decoders() as messages:
        os.write(2, b"one\ntwo\n")
    os.write(2, b"back")
    assert messages == ["one", "two"]
    assert capfd.readouterr().err == "back"


def test_what_another_thread_logs_is_not_lost(tmp_path):
    """As in a service that logs requests while it reads radiographs."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for suffix, options in (("jpg", []), ("png", []), ("tif", [cv2.IMWRITE_TIFF_COMPRESSION, 5])):
        file = tmp_path / f"hand.{suffix}"
        cv2.imwrite(str(file), pixels, options)
        content = bytearray(file.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 8] = bytes(8)  # decoders complain
        file.write_bytes(content)
    code = """
import logging, os, sys, threading
from pathlib import Path
from boneage.data import images
from boneage.data.decoders import muted_decoders
from boneage.errors import UserError
logging.basicConfig(format="%(levelname)s:     %(message)s", level="INFO")
decode, logged = images.cv2.imdecode, []
def log():
    logging.info("request %d", len(logged))
def decode_slowly(*given):
    thread = threading.Thread(target=log)
    thread.start()
    thread.join()
    logged.append(1)
    return decode(*given)
images.cv2.imdecode = decode_slowly
service = threading.Event()
threading.Thread(target=service.wait).start()
for file in sorted(Path(sys.argv[1]).iterdir()):
    try:
        images.read_image(file)
    except UserError:
        continue
service.set()
"""
    told = run(code, tmp_path).stderr
    assert told.splitlines() == [f"INFO:     request {i}" for i in range(3)]


def test_threads_that_read_leave_the_warnings_as_they_were():
    """If each restored what it met, the last would leave the filters of another."""
    before = list(warnings.filters)
    first, second = shared(NO_WARNINGS), shared(NO_WARNINGS)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn("not shown while the second reads", stacklevel=1)
    second.__exit__(None, None, None)
    assert caught == []
    assert list(warnings.filters) == before
