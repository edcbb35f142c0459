"""A local page to try a model on single radiographs: nothing is stored, nothing is sent."""

import os
import tempfile
from collections.abc import Callable
from typing import Any

from boneage.data.dataset import SEXES
from boneage.errors import UserError
from boneage.predict.model import Predictor
from boneage.predict.upload import answer_page, take

LARGEST = "32mb"  # upload
KINDS = [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom"]
TITLE = "Bone age of a hand radiograph"
NOTE = (
    "**Research use only: not a medical device.** What you drop here stays on this machine, in "
    "memory, until you close the page."
)


def serve(
    predictor: Predictor, port: int | None, browser: bool, started: Callable[[str], None]
) -> None:
    """Serve the page on the loopback interface until it is stopped.

    Args:
        predictor: the checkpoints.
        port: of the page; None takes a free one.
        browser: open it in a browser.
        started: is told the page's address.

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
            _, address, _ = page.launch(
                server_name="127.0.0.1", server_port=port, inbrowser=browser, share=False,
                max_file_size=LARGEST, theme=theme, footer_links=[], quiet=True,
                prevent_thread_lock=True,
            )  # fmt: skip
        except OSError as error:
            raise UserError(f"port {port} is taken: choose another --port") from error
        started(address)
        page.block_thread()


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
        upload = gr.State(None)
        file.change(take, file, upload, api_visibility="private")
        button.click(
            lambda given, chosen: answer_page(given, chosen, predictor),
            [upload, sex], shown, api_visibility="private",
        )  # fmt: skip
    return page
