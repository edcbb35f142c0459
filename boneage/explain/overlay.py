"""Attribution maps drawn over radiographs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

COLOURS = "PuOr_r"  # orange raises, purple lowers: told apart by colour-blind readers
STRONGEST = 0.8  # opacity of the strongest value
COLUMNS = 4  # radiographs in a row


def overlay_sheet(images: np.ndarray, maps: np.ndarray, captions: Sequence[str]) -> Figure:
    """Draw radiographs in pairs: plain, and with the signed map over it.

    Each map is scaled by its own strongest value: colours compare places within a radiograph, not
    radiographs.

    Args:
        images: (n, H, W) uint8.
        maps: (n, H, W) signed maps.
        captions: n texts of one or two lines.
    """
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.9, 1.5 * rows + 0.1), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, (image, shown) in enumerate(zip(images, scaled(maps), strict=True)):
        plain, over = grid[i // columns][2 * (i % columns) : 2 * (i % columns) + 2]
        for axes in (plain, over):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        opacity = STRONGEST * np.sqrt(np.abs(shown))
        over.imshow(shown, cmap=COLOURS, vmin=-1, vmax=1, alpha=opacity)
        plain.set_title(captions[i], fontsize=6.5, loc="left", linespacing=1.1)
    scale = ScalarMappable(Normalize(-1, 1), COLOURS)
    bar = figure.colorbar(scale, ax=grid, shrink=min(1, 1.6 / rows), aspect=12, pad=0.01)
    bar.set_ticks([-1, 0, 1], labels=["lowers", "0", "raises"], fontsize=7)
    return figure


def scaled(maps: np.ndarray) -> np.ndarray:
    """Return (n, H, W) maps, each divided by its strongest value; an empty map stays empty.

    Values that are not finite count as zero: a model that has diverged looks at nothing.
    """
    maps = np.where(np.isfinite(maps), maps, 0)
    strongest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    result: np.ndarray = maps / np.where(strongest > 0, strongest, 1)
    return result
