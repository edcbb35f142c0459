"""The page in the browser, driven in a headless Chromium where there is one."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from html import escape
from pathlib import Path
from types import SimpleNamespace
from urllib.request import getproxies, proxy_bypass

import cv2
import numpy as np
import pytest
from dicom_files import written
from helpers import PROJECT

from boneage.cli.radiographs import app as command
from boneage.explain.film import square_film
from boneage.predict.answer import Answer
from boneage.predict.app import (
    LARGEST_MB,
    OwnPageOnly,
    _card,
    answer_page,
    build,
    change_film,
    read_upload,
    without_proxies,
)
from boneage.predict.ensemble import Ensemble
from boneage.predict.page import write_pages
from boneage.predict.patients import read_age
from boneage.predict.radiograph import Radiograph

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def run(trained):
    return trained("task=multitask", "sex=embedding")


@pytest.fixture
def upload(phantom_root, tmp_path_factory):
    """A copy of a radiograph, as an upload is one."""
    return shutil.copy(
        next(phantom_root.rglob("boneage-training-dataset/*.png")),
        tmp_path_factory.mktemp("upload") / "hand.png",
    )


def test_an_upload_is_taken_from_the_disk_and_answered_again_and_again(run, upload):
    content = upload.read_bytes()
    taken = read_upload(str(upload))
    assert taken == ("hand.png", content)
    assert not upload.exists()  # nothing is stored
    ensemble = Ensemble([run])
    pages = {sex: answer_page(taken, sex, "", ensemble) for sex in ("unknown", "female", "male")}
    assert "sex unknown" in pages["unknown"]
    assert "sex female (chosen)" in pages["female"]
    assert all("data:image/jpeg" in page for page in pages.values())
    assert read_upload(None) is None
    assert "Choose a radiograph" in answer_page(None, "female", None, ensemble)


def test_an_unreadable_upload_is_said_without_the_servers_folders(run):
    page = answer_page(("hand.png", b"<script>"), "unknown", "", Ensemble([run]))
    assert "hand.png: not a readable" in page
    assert "/hand.png" not in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("10.5", 10.5),
        (" 10,5 ", 10.5),
        ("0", 0),
        ("25", 25),
        (10.1, 10.1),
    ],
)
def test_an_age_is_read_as_typed(text, years):
    assert read_age(text) == years


@pytest.mark.parametrize("text", ["ten", "126", "-1", "nan", "inf", "10 y", "10.5.1", "<b>"])
def test_what_is_no_age_is_said_in_one_sentence(run, upload, text):
    page = answer_page(read_upload(str(upload)), "female", text, Ensemble([run]))
    assert page == (
        f"<p>{escape(repr(text))} is not a chronological age: give years from 0 to 25, "
        "such as 10.5, or leave it out.</p>"
    )


@pytest.mark.slow
def test_nothing_of_a_former_film_is_left(upload):
    gradio = pytest.importorskip("gradio", reason="needs the extra app")
    film = ("hand.png", upload.read_bytes())
    ready, waiting = gradio.update(interactive=True), gradio.update(interactive=False)
    assert change_film(str(upload), ("former.png", b"")) == (film, "unknown", "", "", ready)
    assert change_film(None, film) == (None, "unknown", "", "", waiting)
    # what is said of the patient before a first film is put in stays
    assert change_film(None, None) == (None, gradio.skip(), gradio.skip(), "", waiting)


def test_a_lost_upload_is_said_and_nothing_of_a_former_film_is_left(upload):
    """Two pages that upload equal files at once share one, which the first removes."""
    pytest.importorskip("gradio", reason="needs the extra app")
    assert change_film(str(upload), None)[0] is not None
    film, sex, age, card, button = change_film(str(upload), ("former.png", b""))
    assert (film, sex, age) == (None, "unknown", "")
    assert button["interactive"] is False
    assert "add it again" in card


def test_the_page_takes_every_file_and_asks_one_thing_after_the_other(run):
    pytest.importorskip("gradio", reason="needs the extra app")
    page = build(Ensemble([run]))
    kinds = {type(block).__name__: block for block in page.blocks.values()}
    assert kinds["File"].file_types is None  # what is in it counts, as for boneage predict
    limit = f"up to {LARGEST_MB} MB"
    assert limit in kinds["File"].label
    assert len(kinds["File"].label) < 30  # else a phone shows it below the button that clears
    assert limit in command.__doc__
    change, answer = page.fns.values()
    assert change.concurrency_id == answer.concurrency_id
    assert answer.trigger_mode == "always_last"  # what is asked during an answer is not lost
    shown, asked = ({block._id for block in blocks} for blocks in (change.outputs, answer.inputs))
    assert asked < shown  # the film, the sex and the age
    assert {block._id for block in answer.outputs} < shown


def test_gradio_does_not_colour_the_answer(run, upload):
    """Its text has the card's colours, and below the card those of the page, which may be dark."""
    pytest.importorskip("gradio", reason="needs the extra app")
    ensemble = Ensemble([run])
    (shown,) = (b for b in build(ensemble).blocks.values() if type(b).__name__ == "HTML")
    assert not shown.apply_default_css
    _, card, below = answer_page(read_upload(str(upload)), "male", "", ensemble).partition(
        "</section>"
    )
    assert card
    assert "Map: Grad-CAM" in below
    assert "class=" not in below


def test_a_dicom_file_without_a_suffix_is_answered(run, tmp_path):
    file = written(tmp_path / "IM0001", np.tile(np.arange(64, dtype=np.uint16) * 16, (80, 1)), 12)
    page = answer_page((file.name, file.read_bytes()), "unknown", " ", Ensemble([run]))
    assert "IM0001" in page
    assert "years" in page


def test_a_typed_age_gives_the_sd_score_that_a_table_gives(run, upload):
    ensemble, taken = Ensemble([run]), read_upload(str(upload))
    page = answer_page(taken, "male", "7,5", ensemble)
    age = float(re.search(r"(\d+\.\d\d) years", page)[1])
    score = float(re.search(r"7\.5 years \(typed\), SD score ([+-][\d.]+)", page)[1])
    # Brush: boys of 7 years have 88.20 (8.91) months, boys of 8 years 101.38 (9.10)
    assert score == pytest.approx((12 * age - (88.20 + 101.38) / 2) / 9.005, abs=0.06)
    assert "no SD score without the sex" in answer_page(taken, "unknown", "7.5", ensemble)
    assert "no SD score at this age" in answer_page(taken, "male", "20", ensemble)
    assert "chronological age" not in answer_page(taken, "male", "", ensemble)


def test_the_map_is_of_the_sex_of_the_answer():
    square, asked = np.zeros((8, 8), np.uint8), []
    models = SimpleNamespace(maps=lambda squares, sexes: asked.append(sexes))
    seen = Radiograph((square,), film=square_film(square))
    _card(Answer("a.png", "a", sex="male"), seen, models)
    assert asked == [["male"]]


@pytest.mark.parametrize(
    ("typed", "said"), [("", "12.0 years (header)"), ("9", "9.0 years (typed)")]
)
def test_the_age_of_a_dicom_header_counts_where_none_is_typed(run, tmp_path, typed, said):
    pixels = np.tile(np.arange(64, dtype=np.uint16) * 16, (80, 1))
    file = written(tmp_path / "film.dcm", pixels, 12, PatientAge="012Y", PatientSex="M")
    page = answer_page((file.name, file.read_bytes()), "unknown", typed, Ensemble([run]))
    assert f"chronological age {said}, SD score" in page


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_printed_cards_fill_their_pages(tmp_path):
    """Three fit below the heading and four on a page of their own, on letter paper."""
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures/film.jpg"), np.zeros((480, 740), np.uint8))
    one = Answer(
        "film.png", "film", age_years=9.0, age_text="9 y 0 m", interval_low_years=8.0,
        interval_high_years=10.0, stage="child", sex="male", sex_from="table",
        chronological_age_years=9.0, sd_score=0.1, flags=["two hands"], picture="pictures/film.jpg",
    )  # fmt: skip
    (page,) = write_pages([one] * 7, {"checkpoints": ["model.onnx"]}, tmp_path)
    file = tmp_path / "page.pdf"
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--print-to-pdf={file}", str(page)]
    subprocess.run([CHROMIUM, *words], capture_output=True, check=True, timeout=120)
    assert len(re.findall(rb"/Type\s*/Page\b", file.read_bytes())) == 2


NO_NETWORK = """
import os, socket

def guarded(call):
    def guard(*args, **kwargs):
        host = next((a for a in args if isinstance(a, (str, tuple))), "")
        host = host[0] if isinstance(host, tuple) else host
        if host not in ("127.0.0.1", "localhost", "::1"):
            open(os.environ["ASKED_FOR"], "a").write(f"{host}\\n")
            raise OSError(f"no network: {host}")
        return call(*args, **kwargs)
    return guard

socket.getaddrinfo = guarded(socket.getaddrinfo)
socket.socket.connect = guarded(socket.socket.connect)
socket.socket.connect_ex = guarded(socket.socket.connect_ex)
"""


def this_machine_only(folder):
    """Return an environment in which a process of Python reaches this machine only.

    What else it asks for is listed in the file `ASKED_FOR`.
    """
    (folder / "guard").mkdir()
    (folder / "guard/sitecustomize.py").write_text(NO_NETWORK)
    path = os.pathsep.join([str(folder / "guard"), str(PROJECT)])
    return {"PYTHONPATH": path, "ASKED_FOR": str(folder / "asked_for.txt")}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:7860"}, 200),
        ({"host": "localhost:8000", "origin": "http://localhost:8000"}, 200),  # forwarded by ssh
        ({"host": "hands.example:7860"}, 403),  # a name that its owner redirected here
        ({"host": "localhost.example", "origin": "http://localhost.example"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "http://hands.example"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:8888"}, 403),  # another server
        ({"host": "127.0.0.1:7860", "origin": "null"}, 403),  # a file, or a frame
        ({}, 403),
    ],
)
def test_other_web_pages_are_refused(headers, status):
    sent = []

    async def server(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(OwnPageOnly(server)({"type": "http", "headers": raw}, None, send))
    assert sent[0]["status"] == status


def test_the_network_is_blocked(tmp_path):
    network = this_machine_only(tmp_path)
    asks = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=1)"
    said = subprocess.run(
        [sys.executable, "-c", asks], env=os.environ | network, capture_output=True
    )
    assert b"no network: 192.0.2.1" in said.stderr
    assert Path(network["ASKED_FOR"]).read_text() == "192.0.2.1\n"


DEAD = "http://127.0.0.1:9"  # nothing listens there
NAMES = ("http_proxy", "https_proxy", "all_proxy")
PROXIES = {
    "unknown kind": dict.fromkeys(NAMES, "socks5://127.0.0.1:9"),
    "not an address": dict.fromkeys(NAMES, "proxy.hospital.example:80:80"),
    "lower case": dict.fromkeys(NAMES, DEAD),
    "upper case": {name.upper(): DEAD for name in NAMES},
    "both cases, others excepted": {
        **dict.fromkeys([*NAMES, *map(str.upper, NAMES)], DEAD),
        "no_proxy": "example.org",
        "NO_PROXY": ".example.org,10.0.0.0/8",
    },
}

SERVED = """
import json, os, sys, urllib.request
from boneage.predict import app

def started(address):
    read = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    other = urllib.request.Request(address, headers={"Host": "hands.example"})
    try:
        read(other, timeout=60)
    except urllib.error.HTTPError as error:
        print(read(address, timeout=60).status, error.code, flush=True)
    sys.exit()

for proxies in json.loads(sys.argv[1]):
    os.environ |= proxies
    try:
        app.serve(None, None, False, started)
    except SystemExit:
        for name in proxies:
            del os.environ[name]
"""


@pytest.mark.slow
def test_the_page_is_served_under_proxies(tmp_path):
    """Nothing on the way to the page goes through them, from the import of gradio on."""
    pytest.importorskip("gradio", reason="needs the extra app")
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    env = clean | {"PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", SERVED, json.dumps(list(PROXIES.values()))]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "200 403\n" * len(PROXIES), done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("name", PROXIES)
def test_proxies_are_hidden_for_a_while_only(name, monkeypatch):
    for variable, value in PROXIES[name].items():
        monkeypatch.setenv(variable, value)
    before = dict(os.environ)
    with without_proxies():
        assert {k for k in os.environ if k.lower().endswith("_proxy")} == {"no_proxy"}
        assert proxy_bypass("127.0.0.1")
        assert "http" not in getproxies()
    assert dict(os.environ) == before


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """The folder for temporary files of the page."""
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(run, temporary):
    """The page, where the command says it is."""
    command = [sys.executable, "-m", "boneage", "app", "--checkpoint", str(run), "--no-browser"]
    network = this_machine_only(temporary)
    env = os.environ | network | {"TMPDIR": str(temporary)} | PROXIES["lower case"]
    process = subprocess.Popen(command, env=env, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    yield re.fullmatch(r"The page is at (http://127\.0\.0\.1:\d+/) .*\n", line)[1]
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    assert not list(temporary.rglob("hand.png"))
    assert not Path(network["ASKED_FOR"]).exists()  # nothing but this machine


CONTRASTS = """() => {
    const parts = colour => colour.match(/[\\d.]+/g).map(Number);
    const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255)
        + 0.0722 * linear(b / 255);
    const background = e => {
        for (; e; e = e.parentElement) {
            const [r, g, b, opacity = 1] = parts(getComputedStyle(e).backgroundColor);
            if (opacity) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const written = e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim());
    return [...document.querySelectorAll(".card, .card *, .card ~ *, .card ~ * *")]
        .filter(written).map(e => {
            const both = [light(parts(getComputedStyle(e).color)), light(background(e))];
            return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
        });
}"""  # of each text of the answer with what is behind it (Web Content Accessibility Guidelines)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_answer_can_be_read_in_a_light_and_in_a_dark_browser(address, upload):
    pytest.importorskip("gradio", reason="needs the extra app")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    contrasts = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            page.route(lambda url: not url.startswith((address, "data:")), lambda r: r.abort())
            page.goto(address)
            page.set_input_files("input[type=file]", upload)
            page.get_by_text("hand.png").wait_for()
            page.get_by_role("button", name="Predict").click()
            page.locator(".card").wait_for()
            contrasts.append(page.evaluate(CONTRASTS))
            page.get_by_label("Chronological age").focus()
            page.keyboard.press("Shift+Tab")
            focused = page.locator("label:has(:focus)")
            assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
            page.emulate_media(media="print", color_scheme=scheme)
            assert not page.get_by_role("button", name="Predict").is_visible()
            assert page.locator(".card .text").bounding_box()["width"] > 200
            colour = "getComputedStyle(document.querySelector('h1')).color"
            assert max(map(int, re.findall(r"\d+", page.evaluate(colour)))) < 100
            page.close()
        browser.close()
    light, dark = contrasts
    assert len(light) == len(dark) > 3
    assert min(light + dark) > 4.5


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_the_browser(address, upload, temporary, tmp_path):
    pytest.importorskip("gradio", reason="needs the extra app")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    asked = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.route(lambda url: not url.startswith((address, "data:", "blob:")), lambda r: r.abort())
        page.goto(address)
        assert page.get_by_role("button", name="Predict").is_disabled()
        page.set_input_files("input[type=file]", upload)
        page.get_by_role("button", name="Predict").click()  # waits for the film
        card = page.locator(".card")
        card.wait_for()
        before = card.inner_text()
        page.get_by_label("Chronological age").fill("9,5")
        for sex in ("female", "male"):  # the second is asked while the first is answered
            page.get_by_label(sex, exact=True).check()
            page.get_by_role("button", name="Predict").click()
        page.get_by_text("sex male").wait_for()
        said = card.inner_text()
        height = page.locator(".card img").evaluate("image => image.naturalHeight")
        page.screenshot(path=tmp_path / "page.png")
        page.get_by_label("Clear", exact=True).click()
        card.wait_for(state="detached")
        assert page.get_by_label("unknown", exact=True).is_checked()
        assert page.get_by_label("Chronological age").input_value() == ""
        refused = tmp_path / "large.dcm"
        refused.write_bytes(bytes(101 * 2**20))
        page.set_input_files("input[type=file]", refused)
        page.get_by_text("exceed the maximum").wait_for()
        assert page.get_by_role("button", name="Predict").is_disabled()
        page.get_by_label("Chronological age").press("Enter")
        page.get_by_text("Choose a radiograph first").wait_for()
        browser.close()
    assert "years" in said
    assert "sex male (chosen)" in said
    assert said != before
    assert "chronological age 9.5 years (typed), SD score" in said
    assert height == 480
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert not list(temporary.rglob("*/hand.png"))
