"""A local page to try a model on single radiographs; nothing is stored or sent."""

import os
import tempfile
import webbrowser
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from boneage.data.formats import FORMAT_NAMES
from boneage.data.tables.sexes import SEXES
from boneage.errors import UserError, install
from boneage.evaluation.html import render
from boneage.predict.answer import RESEARCH_ONLY, Answer
from boneage.predict.answering import answer_all
from boneage.predict.ensemble import Ensemble
from boneage.predict.page import SCALE_YEARS, PictureNames, card_of, write_pictures
from boneage.predict.patients import patient_given, patient_of
from boneage.predict.radiograph import Radiograph, load

Upload = tuple[str, bytes]  # name and content
LARGEST_MB = 100  # upload; a radiograph of 16 bits has 20 to 40 MB
UNKNOWN_SEX = SEXES[-1]
QUEUE = "film"  # one queue for all events, so that no answer is of an earlier film
TITLE = "Bone age of a hand radiograph"
NOTE = (
    f"**{RESEARCH_ONLY}** Add a {FORMAT_NAMES} file. "
    "It stays on this machine, in memory, until you close the page."
)
FORM = "form"  # id of the column that is not printed
CSS = f"""
label:has(:focus-visible) {{ outline: 2px solid; }}
@media print {{
  #{FORM} {{ display: none; }}
  .dark {{ --body-text-color: #000 !important; }}
}}
"""
HOSTS = (b"127.0.0.1", b"localhost")  # names of this machine in a browser
GONE = "<p>The upload was lost: remove the file above, and add it again.</p>"


def read_upload(file: str | None) -> Upload | None:
    """Read an uploaded file into memory, and remove it."""
    if file is None:
        return None
    path = Path(file)
    try:
        return path.name, path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def change_film(
    file: str | None, former: Upload | None
) -> tuple[Upload | None, Any, Any, str, dict[str, Any]]:
    """Return the film, sex, age, card and button of the page after a file was added or removed.

    A new film clears everything of the former one. Sex and age that were entered before the first
    film are not changed. The button waits for a film: while one is still on its way, pressing it
    would give no answer.
    """
    import gradio as gr

    fields = (gr.skip(), gr.skip()) if former is None else (UNKNOWN_SEX, "")
    try:
        film, said = read_upload(file), ""
    except OSError:  # equal uploads of two pages are one file, which the first page removes
        film, said = None, GONE
    return film, *fields, said, gr.update(interactive=film is not None)


def answer_page(upload: Upload | None, sex: str, age: str | None, ensemble: Ensemble) -> str:
    """Return the answer for an uploaded radiograph as HTML.

    Args:
        upload: name and content of the file.
        sex: as chosen.
        age: chronological age in years, as typed; if empty, the DICOM header is used.
        ensemble: the models.
    """
    if upload is None:
        return "<p>Choose a radiograph first.</p>"
    try:
        given = patient_given(None if sex == UNKNOWN_SEX else sex, (age or "").strip() or None)
    except UserError as error:
        return f"<p>{escape(str(error))}.</p>"
    name, content = upload
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        radiograph = load(path, ensemble.preprocessings, with_film=True)
        patient = patient_of(given, radiograph.header)
        (answer,), seen = answer_all([(path, radiograph)], [patient], ensemble)
    if answer.sex_from == "option":
        answer = replace(answer, sex_from="chosen")
    if answer.chronological_age_from == "option":
        answer = replace(answer, chronological_age_from="typed")
    reason = answer.reason.replace(str(path), name)
    return _card(replace(answer, reason=reason), seen.get(0), ensemble)


def _card(answer: Answer, seen: Radiograph | None, ensemble: Ensemble) -> str:
    with tempfile.TemporaryDirectory() as folder:
        if seen is not None:
            answer = replace(answer, picture=PictureNames().new("radiograph"))
            maps = ensemble.maps(seen.squares[0][None], [answer.sex])
            write_pictures([answer.picture], [seen], maps, Path(folder))
        card = card_of(answer, Path(folder), answer.id)
    return render("answer.html.j2", card=card, oldest=SCALE_YEARS)


def serve(
    ensemble: Ensemble, port: int | None, browser: bool, started: Callable[[str], None]
) -> None:
    """Serve the page on the loopback interface until it is stopped.

    Args:
        ensemble: the models.
        port: of the page; None is a free one.
        browser: open the page in a browser.
        started: called with the page's address.

    Raises:
        UserError: if gradio is not installed, or the port is in use.
    """
    with tempfile.TemporaryDirectory() as uploads:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
        with without_proxies():
            page, address = _launch(ensemble, port)
        started(address)
        if browser:
            webbrowser.open(address)  # the browser may need the proxies
        page.block_thread()


@contextmanager
def without_proxies() -> Iterator[None]:
    """Hide the environment's proxies: the page connects only to this machine.

    `no_proxy` with the loopback address is not enough: gradio's HTTP client sets up every proxy of
    the environment, and fails on unsupported ones.
    """
    hidden = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    for name in hidden:
        del os.environ[name]
    os.environ["no_proxy"] = "*"  # else macOS and Windows use the system's proxies
    try:
        yield
    finally:
        del os.environ["no_proxy"]
        os.environ |= hidden


class OwnPageOnly:
    """Refuse what other web pages in the browser send.

    A page from elsewhere could fill the disk with uploads. One whose host name is redirected to
    this machine (DNS rebinding) could use everything as the own page does.

    Args:
        app: the server (ASGI).
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401
        """Answer a request, or refuse it with status 403."""
        headers = dict(scope.get("headers", ()))
        host, origin = headers.get(b"host", b""), headers.get(b"origin")
        own = host.partition(b":")[0] in HOSTS and origin in (None, b"http://" + host)
        if own or scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 403})
            await send({"type": "http.response.body", "body": b"only for the page itself"})


def _launch(ensemble: Ensemble, port: int | None) -> tuple[Any, str]:
    """Start the server; return the page and its address."""
    try:
        import gradio as gr
        from starlette.middleware import Middleware
    except ImportError as error:
        raise UserError(f"boneage app needs gradio: {install('app')}") from error
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]).set(
        block_info_text_color="*neutral_500", block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
    )  # fmt: skip
    page = build(ensemble)
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1", server_port=port, inbrowser=False, share=False,
            max_file_size=f"{LARGEST_MB}mb", theme=theme, css=CSS, footer_links=[], quiet=True,
            prevent_thread_lock=True, app_kwargs={"middleware": [Middleware(OwnPageOnly)]},
        )  # fmt: skip
    except OSError as error:
        place = "no port is free" if port is None else f"port {port} is in use"
        raise UserError(f"{place}: choose another --port") from error
    return page, address


def build(ensemble: Ensemble) -> Any:  # noqa: ANN401 - gradio is optional
    """Return the page."""
    import gradio as gr

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\n{NOTE}")
        with gr.Row():
            with gr.Column(elem_id=FORM):
                file = gr.File(label=f"Radiograph, up to {LARGEST_MB} MB")
                sex = gr.Radio(
                    list(SEXES), value=UNKNOWN_SEX, label="Sex",
                    info="If unknown, the sex in the DICOM header is used.",
                )  # fmt: skip
                age = gr.Textbox(
                    label="Chronological age in years (optional)", placeholder="for example 10.5",
                    info="For the SD score. If empty, the age in the DICOM header is used.",
                    max_lines=1,
                )  # fmt: skip
                button = gr.Button("Predict", variant="primary", interactive=False)
            with gr.Column(scale=3):
                # gradio's CSS would colour the text of the white card: white in a dark browser
                shown = gr.HTML(label="Answer", apply_default_css=False)
        upload = gr.State(None)
        file.change(
            change_film, [file, upload], [upload, sex, age, shown, button],
            api_visibility="private", concurrency_id=QUEUE,
        )  # fmt: skip
        gr.on(
            [button.click, age.submit],
            lambda given, chosen, typed: answer_page(given, chosen, typed, ensemble),
            [upload, sex, age], shown, api_visibility="private", concurrency_id=QUEUE,
            trigger_mode="always_last",  # by default, what is asked during an answer is lost
        )  # fmt: skip
    return page
