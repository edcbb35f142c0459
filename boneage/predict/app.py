"""A local page to try a model on single radiographs: nothing is stored, nothing is sent."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from boneage.data.dataset import SEXES
from boneage.errors import UserError
from boneage.evaluation.report.environment import render
from boneage.predict.answer import Answer
from boneage.predict.answering import answer_all
from boneage.predict.model import Predictor
from boneage.predict.page import OLDEST_YEARS, card_of
from boneage.predict.patients import patient_of
from boneage.predict.pictures import write_pictures
from boneage.predict.radiograph import load

LARGEST = "32mb"  # upload
KINDS = [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom"]
TITLE = "Bone age of a hand radiograph"
NOTE = (
    "**Research use only: not a medical device.** What you drop here is read on this machine, kept "
    "in memory, and not stored."
)


def answer_page(file: str | None, sex: str, predictor: Predictor) -> str:
    """Return the answer for an uploaded file as HTML; the file is removed."""
    if file is None:
        return "<p>Choose a radiograph first.</p>"
    path = Path(file)
    try:
        radiograph = load(path, predictor.preprocessings)
        option = None if sex == "unknown" else sex
        patient = patient_of(path, option, {}, radiograph.header)
        (answer,), seen = answer_all([(path, radiograph)], [patient], predictor)
        return _card(answer, seen.get(0), predictor)
    finally:
        path.unlink(missing_ok=True)


def _card(answer: Answer, square: np.ndarray | None, predictor: Predictor) -> str:
    with tempfile.TemporaryDirectory() as folder:
        if square is not None:
            write_pictures(["radiograph"], square[None], [answer.sex], predictor, Path(folder))
        card = card_of(answer, Path(folder) / "pictures/radiograph.png")
    return render("answer.html.j2", card=card, oldest=OLDEST_YEARS)


def serve(predictor: Predictor, port: int | None, browser: bool) -> None:
    """Serve the page on the loopback interface until it is stopped.

    Args:
        predictor: the checkpoints.
        port: of the page; None takes a free one.
        browser: open it in a browser.

    Raises:
        UserError: when gradio is not installed, or the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio as gr
    except ImportError as error:
        raise UserError("boneage app needs gradio: pip install 'boneage[app]'") from error
    with tempfile.TemporaryDirectory() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page = build(predictor)
        theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
        try:
            page.launch(
                server_name="127.0.0.1", server_port=port, inbrowser=browser, share=False,
                max_file_size=LARGEST, theme=theme, footer_links=[], quiet=True,
            )  # fmt: skip
        except OSError as error:
            raise UserError(f"port {port} is taken: choose another --port") from error


def build(predictor: Predictor) -> Any:  # noqa: ANN401 - gradio is optional
    """Return the page."""
    import gradio as gr

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\n{NOTE}")
        with gr.Row():
            with gr.Column():
                file = gr.File(label="Radiograph (PNG, JPEG, TIFF, BMP or DICOM)", file_types=KINDS)
                sex = gr.Radio(list(SEXES), value="unknown", label="Sex")
                button = gr.Button("Predict", variant="primary")
            shown = gr.HTML(label="Answer")
        button.click(
            lambda path, chosen: answer_page(path, chosen, predictor),
            [file, sex], shown, api_visibility="private",
        )  # fmt: skip
    return page
