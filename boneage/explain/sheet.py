"""A sheet of radiographs with attribution maps over them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from boneage.explain.film import Film, with_map
from boneage.explain.overlay import COLOURS

COLUMNS = 4  # radiographs in a row


def overlay_sheet(films: Sequence[Film], maps: np.ndarray, captions: Sequence[str]) -> Figure:
    """Draw radiographs in pairs: plain, and with the signed map over it.

    Each map is scaled by its own strongest value: colours compare places within a radiograph, not
    radiographs.

    Args:
        films: n films.
        maps: (n, h, w) signed maps of their squares.
        captions: n texts of one or two lines.
    """
    columns = min(COLUMNS, len(films))
    rows = -(-len(films) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.9, 1.5 * rows + 0.1), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, (film, map_) in enumerate(zip(films, maps, strict=True)):
        plain, over = grid[i // columns][2 * (i % columns) : 2 * (i % columns) + 2]
        plain.imshow(film.pixels, cmap="gray", vmin=0, vmax=255)
        over.imshow(with_map(film, map_))
        plain.set_title(captions[i], fontsize=6.5, loc="left", linespacing=1.1)
    scale = ScalarMappable(Normalize(-1, 1), ListedColormap(COLOURS / 255))
    bar = figure.colorbar(scale, ax=grid, shrink=min(1, 1.6 / rows), aspect=12, pad=0.01)
    bar.set_ticks([-1, 0, 1], labels=["lowers", "0", "raises"], fontsize=7)
    return figure
