"""The page in the browser, driven in a headless Chromium where there is one."""

import os
import shutil
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from conftest import PROJECT, TINY, compose_config

from boneage.predict.app import answer_page
from boneage.predict.model import Predictor
from boneage.run.experiment import train

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def run(phantom_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    options = ("task=multitask", "sex=embedding", "data=rsna", f"data.root={phantom_root}")
    train(compose_config(*TINY, *options, f"run_dir={folder}"))
    return folder


@pytest.fixture
def upload(phantom_root, tmp_path):
    """A copy of a radiograph, as an upload is one."""
    return shutil.copy(
        next(phantom_root.rglob("boneage-training-dataset/*.png")), tmp_path / "hand.png"
    )


def test_answer(run, upload):
    page = answer_page(str(upload), "female", Predictor([run]))
    assert "sex female (option)" in page
    assert "data:image/png" in page
    assert not upload.exists()  # nothing is stored
    assert "Choose a radiograph" in answer_page(None, "female", Predictor([run]))


def test_an_unreadable_upload_is_said(run, tmp_path):
    (tmp_path / "hand.png").write_bytes(b"<script>")
    page = answer_page(str(tmp_path / "hand.png"), "unknown", Predictor([run]))
    assert "not a readable" in page
    assert not (tmp_path / "hand.png").exists()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def address(run, tmp_path):
    """The page, served by the command."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "boneage",
        "app",
        str(run),
        "--no-browser",
        "--port",
        str(port),
    ]
    env = os.environ | {"PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path), "no_proxy": "*"}
    process = subprocess.Popen(command, env=env, cwd=PROJECT)
    url = f"http://127.0.0.1:{port}/"
    for _ in range(240):
        try:
            urlopen(url, timeout=5).close()
            break
        except (URLError, ConnectionError):
            assert process.poll() is None, "the page has ended"
            time.sleep(0.25)
    yield url
    process.terminate()
    process.wait()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_the_browser(address, upload, tmp_path):
    pytest.importorskip("gradio", reason="needs the extra app")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    asked = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.route(lambda url: not url.startswith((address, "data:", "blob:")), lambda r: r.abort())
        page.goto(address)
        page.set_input_files("input[type=file]", upload)
        page.get_by_text("hand.png").wait_for()
        page.get_by_label("female", exact=True).check()
        page.get_by_role("button", name="Predict").click()
        card = page.locator(".card")
        card.wait_for()
        said = card.inner_text()
        width = page.locator(".card img").evaluate("image => image.naturalWidth")
        page.screenshot(path=tmp_path / "page.png")
        browser.close()
    assert "years" in said
    assert "sex female (option)" in said
    assert width == 512
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert not list(tmp_path.rglob("*/hand.png"))
