"""A sheet of radiographs with attribution maps over them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from boneage.explain.overlay import COLOURS, overlay, scaled

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
        plain.imshow(image, cmap="gray", vmin=0, vmax=255)
        over.imshow(overlay(image, shown))
        plain.set_title(captions[i], fontsize=6.5, loc="left", linespacing=1.1)
    scale = ScalarMappable(Normalize(-1, 1), ListedColormap(COLOURS / 255))
    bar = figure.colorbar(scale, ax=grid, shrink=min(1, 1.6 / rows), aspect=12, pad=0.01)
    bar.set_ticks([-1, 0, 1], labels=["lowers", "0", "raises"], fontsize=7)
    return figure
