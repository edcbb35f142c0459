"""The style of all figures: print sizes, and colours distinguishable for colour-blind readers."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from boneage.data.atomic import write_file
from boneage.evaluation.html import data_uri

# Okabe & Ito 2008
BLUE, ORANGE, GREEN, SKY, VERMILION, PURPLE, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7", "#000000",
)  # fmt: skip
GREY = "#6b7280"
SEX_COLORS = {"female": VERMILION, "male": BLUE, "unknown": GREY}
SEX_MARKERS = {"female": "o", "male": "^", "unknown": "s"}
OLDEST_YEARS = 20  # where age axes end, unless an age is beyond it
DPI = 150
PIXELS_PER_INCH = 100  # on a page; the image itself is finer
RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.usetex": False,  # a name of the user's is no LaTeX command, whatever matplotlibrc says
    "text.parse_math": False,  # a $ in a name is printed as it is
    "pdf.fonttype": 42,  # text stays text in a paper
    "savefig.dpi": DPI,
}

EAST_ASIAN = re.compile(  # families, as installed by the common systems
    r"(Noto|Source Han) Sans (CJK|SC|TC|HK|JP|KR)|WenQuanYi|Hiragino Sans|PingFang|Apple SD Gothic"
    r"|Microsoft (YaHei|JhengHei)|SimHei|Yu Gothic|Meiryo|Malgun Gothic|IPAe?x?Gothic|NanumGothic"
)


@cache
def _east_asian_fonts() -> list[str]:
    """Return the families of installed fonts with Chinese, Japanese or Korean letters."""
    return sorted({font.name for font in fontManager.ttflist if EAST_ASIAN.match(font.name)})


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save figures in the project's style.

    Characters that no font has, as in ids, are drawn as boxes, without Matplotlib's warnings.
    """
    families = dict.fromkeys([*mpl.rcParams["font.family"], *_east_asian_fonts()])
    with mpl.rc_context(RC | {"font.family": list(families)}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph |Matplotlib currently does not support", UserWarning
        )
        yield


def one_axes(width: float = 4.6, height: float = 3.6) -> tuple[Figure, Axes]:
    """Return an empty figure of a size in inches, with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def draw_estimate(
    axes: Axes,
    place: float,
    estimate: Sequence[float] | np.ndarray,
    color: str,
    *,
    few: bool,
    upright: bool = False,
    marker: str = "o",
    **style: Any,  # noqa: ANN401 - options of the marker
) -> None:
    """Draw a value as a marker, hollow if it is of few, on the line of its interval.

    Args:
        axes: where to draw.
        place: on the other axis.
        estimate: value, low and high; limits that are NaN are not drawn.
        color: of marker and line.
        few: whether the value is of few radiographs or patients.
        upright: whether the line is vertical.
        marker: of the value.
        style: further options of the marker.
    """
    value, low, high = estimate
    if np.isfinite(low) and np.isfinite(high):
        line = axes.vlines if upright else axes.hlines
        line(place, low, high, color=color, linewidth=2)
    point = (place, value) if upright else (value, place)
    axes.plot(*point, marker, color=color, markerfacecolor="white" if few else color, **style)


def end_of_axis(*years: np.ndarray) -> float:
    """Return where an axis of ages ends: at 20 years, or above the oldest of these ages."""
    return max(OLDEST_YEARS, *(float(np.ceil(ages.max(initial=0))) for ages in years))


def wrapped(text: str, width: int = 40) -> str:
    """Break a text, such as a name that a user chose, into lines of at most `width` characters.

    Lines end after a space, slash, comma or underscore where there is one.
    """
    lines = re.findall(rf".{{1,{width}}}(?:(?<=[/,_ ])|$)|.{{1,{width}}}", text)
    return "\n".join(line.rstrip() for line in lines)


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file's content."""
    buffer = BytesIO()
    with styled():
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def write_figure(figure: Figure, path: Path) -> bytes:
    """Write a figure as PNG and PDF, with the suffixes of these; return the PNG."""
    png = to_png(figure)
    write_file(path.with_suffix(".png"), png)
    figure.set_layout_engine("none")  # the PDF is laid out like the PNG
    buffer = BytesIO()
    with styled():
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    write_file(path.with_suffix(".pdf"), buffer.getvalue())
    return png


def page_image(figure: Figure, png: bytes | None = None) -> dict[str, Any]:
    """Return the `uri` of a figure's image for a page, and its `width` there in pixels.

    Args:
        figure: the figure.
        png: its PNG, if it exists already.
    """
    return {
        "uri": data_uri(png or to_png(figure)),
        "width": round(PIXELS_PER_INCH * figure.get_figwidth()),
    }
