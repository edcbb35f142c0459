"""Choose test radiographs for maps, and draw sheets of maps."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from boneage.data.atomic import atomic_folder, write_file
from boneage.data.hand import to_jpeg
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.evaluation.predictions import case_errors, worst_first
from boneage.explain.film import COLOURS, Film, film_image, with_map
from boneage.run_files import CASES
from boneage.stages import BANDS, PROBABILITY, Stages

CASES_PER_ROW = 4  # radiographs in a row
CAPTION_WIDTH = 44  # characters above a pair of images


def overlay_sheet(films: Sequence[Film], maps: np.ndarray, captions: Sequence[str]) -> Figure:
    """Draw radiographs in pairs: plain, and with the signed map over it.

    Each map is scaled by its own strongest value, so compare colours within one radiograph only.
    The (n, h, w) maps are signed and of the films' squares; captions have one or two lines.
    """
    columns = min(CASES_PER_ROW, len(films))
    rows = -(-len(films) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.9, 1.5 * rows + 0.1), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, (film, map_) in enumerate(zip(films, maps, strict=True)):
        plain, over = grid[i // columns][2 * (i % columns) : 2 * (i % columns) + 2]
        plain.imshow(film.pixels, cmap="gray", vmin=0, vmax=255)
        over.imshow(with_map(film, map_))
        lines = [_shorten(line, CAPTION_WIDTH) for line in captions[i].splitlines()]
        plain.set_title("\n".join(lines), fontsize=6.5, loc="left", linespacing=1.1)
    scale = ScalarMappable(Normalize(-1, 1), ListedColormap(COLOURS / 255))
    bar = figure.colorbar(scale, ax=grid, shrink=min(1, 1.6 / rows), aspect=12, pad=0.01)
    bar.set_ticks([-1, 0, 1], labels=["lowers", "0", "raises"], fontsize=7)
    return figure


def _shorten(line: str, width: int) -> str:
    """Return a line of at most `width` characters, with dots for those in its middle."""
    end = (width - 3) // 2
    return line if len(line) <= width else f"{line[: width - 3 - end]}...{line[-end:]}"


def representative_cases(
    predictions: pd.DataFrame, stages: Stages, cases: int, per_band: int
) -> pd.DataFrame:
    """Return the worst, the median and the best radiographs, and examples of each age band.

    Args:
        predictions: truth and prediction of every test radiograph.
        stages: the stages.
        cases: number of each of the three kinds.
        per_band: number of each age band: those around its median error.

    Returns:
        Their rows, each once, with `kind` as first column. Without errors, as of a new task, only
        the examples of each age band.
    """
    errors = case_errors(predictions, stages)
    if errors is None:
        errors, cases = np.zeros(len(predictions)), 0
    order = worst_first(errors)
    kinds: dict[int, str] = {}
    middle = max(0, len(order) // 2 - cases // 2)
    for kind, positions in (
        ("worst", order[:cases]),
        ("median", order[middle : middle + cases]),
        ("best", order[::-1][:cases]),
    ):
        for position in positions:
            kinds.setdefault(int(position), kind)
    band = BANDS.index_of(predictions["age_years"].to_numpy(float))
    for i, name in enumerate(BANDS.names):
        members = [int(p) for p in order if band[p] == i and int(p) not in kinds]
        start = max(0, len(members) // 2 - per_band // 2)
        kinds |= dict.fromkeys(members[start : start + per_band], f"{name} years")
    chosen = predictions.iloc[list(kinds)].copy()
    chosen.insert(0, "kind", list(kinds.values()))
    return chosen


def write_cases(folder: Path, films: Sequence[Film], maps: np.ndarray, rows: pd.DataFrame) -> None:
    """Write an image of each radiograph into a new folder, and `cases.csv`, which lists them.

    The rows are those of `representative_cases`; films and maps are as for `overlay_sheet`.
    """
    names = [f"{number:02d}.jpg" for number in range(1, len(films) + 1)]
    listed = pd.DataFrame({"picture": names, "id": rows["id"], "caption": captions(rows)})
    with atomic_folder(folder) as new:
        for name, film, map_ in zip(names, films, maps, strict=True):
            write_file(new / name, to_jpeg(film_image(film, map_)))
        write_file(new / CASES, listed.to_csv(index=False))


def captions(rows: pd.DataFrame) -> list[str]:
    """Return two lines per radiograph: id, sex and truth; then the prediction."""
    return [_caption(row) for row in rows.to_dict("records")]


def _caption(row: dict[Hashable, Any]) -> str:
    age = row["age_years"]
    id_ = str(row["id"]).encode(errors="replace").decode()  # a file's name may not be UTF-8
    sex = "sex unknown" if row["sex"] == "unknown" else row["sex"]
    first = f"{id_}, {sex}, " + ("age unknown" if np.isnan(age) else f"{age:.1f} y")
    if "kind" in row:
        first = f"{row['kind']}: {first}"
    predicted = []
    if PREDICTED_AGE in row:
        predicted.append(f"{row[PREDICTED_AGE]:z.1f} y")
    if "stage_predicted" in row:
        stage = row["stage_predicted"]
        probability = row.get(PROBABILITY + stage)
        predicted.append(stage if probability is None else f"{stage} ({100 * probability:.0f} %)")
    return f"{first}\npredicted {', '.join(predicted)}" if predicted else first
