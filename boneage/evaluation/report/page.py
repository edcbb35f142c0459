"""The page of a run."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from boneage.data.atomic import write_file
from boneage.data.decode import Preprocessing
from boneage.data.folders import walk
from boneage.data.formats import read_radiograph
from boneage.data.hand import detect, to_film, to_jpeg
from boneage.data.radiographs import by_id
from boneage.errors import UserError
from boneage.evaluation.figures.material import AbsentError, Material
from boneage.evaluation.figures.registry import FIGURES, SECTIONS, draw_figures
from boneage.evaluation.figures.style import page_image, write_figure
from boneage.evaluation.html import data_uri, embedded, render
from boneage.evaluation.intervals import DRAWS
from boneage.evaluation.methods.words import chosen_epoch
from boneage.evaluation.metrics import shown_baselines
from boneage.evaluation.predictions import BEYOND_ANY_AGE, pick_cases
from boneage.evaluation.reference import reference_of
from boneage.evaluation.report.statements import extremes, limit_of_readers, verdict
from boneage.evaluation.report.tables import (
    bias_rows,
    column_sections,
    metric_rows,
    option_rows,
    small_bands,
    subgroup_rows,
)
from boneage.evaluation.run_folder import FinishedRun, read_run
from boneage.evaluation.stage import errors_by_edge_distance
from boneage.run_files import CASES, CHECKS, CLAIMS, MAPS, PAGE, SUBGROUPS
from boneage.weights import BUILTIN_NAME

SAME = 3.0  # grey levels: largest mean difference between a file and the tested radiograph
FOLDER = "figures"
EXTREMES = (
    "age/infant_sd_years",
    "age/older_sd_years",
    "age/infant_bias_years",
    "age/ceiling_slope",
    "age/ceiling_bias_years",
    "age/rmse_minus_mae_years",
    "age/worst_5_percent_share",
)
ORANGE_MEANS = {  # what the orange of a task's maps does
    "age": "raises the predicted age",
    "stage": "makes the stage more likely",
    "sex": "makes a boy more likely",
}


def films(run: FinishedRun) -> dict[str, str]:
    """Return the images of a run's cases for its page, by id.

    A file below `data.root` is shown if it has the id of a case and looks like the square that the
    run has stored. Otherwise the square is shown.
    """
    stored = run.images()
    squares = dict(zip(stored.get("ids", []), stored.get("cases", []), strict=True))
    images = squares | dict(_read(run.metrics["options"], squares))
    return {str(id_): data_uri(to_jpeg(image), "jpeg") for id_, image in images.items()}


def _read(
    options: dict[str, Any], squares: dict[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ids and (h, w) uint8 films of the radiographs whose files exist."""
    try:
        preprocessing = Preprocessing(
            **{field.name: options[f"data.{field.name}"] for field in fields(Preprocessing)}
        )
        root = Path(options["data.root"])
    except (UserError, KeyError, TypeError):
        return
    if not root.is_dir():
        return
    files = by_id(map(Path, walk(root.absolute(), quiet=True)), squares)
    for id_, file in [(case, file) for case in squares for file in files.get(case, ())]:
        try:
            image, _ = read_radiograph(file)
        except UserError:
            continue
        detection = detect(image)
        seen, square = preprocessing.square(image, detection).pixels, squares[id_]
        if seen.shape == square.shape and cv2.absdiff(seen, square).mean() <= SAME:
            yield id_, to_film(image, detection.hand)


def write_report(run_dir: Path) -> Path:
    """Draw the figures of a finished run and write its page, from the files of its folder.

    The figures are written as `figures/<name>.png` and, for papers, `.pdf`. The page is a single,
    self-contained file.

    Returns:
        The page.

    Raises:
        UserError: when the run is not finished, or its folder is damaged.
        OSError: when it cannot be written.
    """
    run = read_run(run_dir)
    run_dir = run.path  # if a checkpoint file was given
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    drawn = draw_figures(run.predictions, run.stages, run)
    images = {
        name: page_image(figure, write_figure(figure, folder / name))
        for name, figure in drawn.items()
    }
    groups, maps = run.table(SUBGROUPS), _maps(run)
    page = render(
        "report.html.j2",
        run=run,
        metrics=run.metrics,
        draws=DRAWS,
        builtin=BUILTIN_NAME,
        baselines=shown_baselines(run.metrics),
        chosen_epoch=chosen_epoch(run),
        rows=metric_rows(run),
        reference=reference_of(run.metrics),
        verdict=verdict,
        limit_of_readers=limit_of_readers(run.metrics),
        extreme_names=[name for name in EXTREMES if name in run.metrics["test"]],
        extremes=extremes(run.metrics["test"], run.predictions),
        subgroups=subgroup_rows(groups) if len(groups) else ([], []),
        columns=column_sections(run, groups),
        bias=bias_rows(run, groups) if run.metrics.get("external") else ([], []),
        edges=_edges(run),
        options=option_rows(run),
        beyond_any_age=BEYOND_ANY_AGE,
        small_bands=small_bands(run.predictions),
        cases=_cases(run),
        maps=maps,
        orange=_orange([shown["name"] for shown in maps]),
        claims=[line for name in (CLAIMS, CHECKS) for line in _lines(run.path / MAPS / name)],
        figures={
            section: [
                (entry, images[entry.name])
                for entry in FIGURES
                if entry.section == section and entry.name in images
            ]
            for section in SECTIONS
        },
    )
    write_file(run_dir / PAGE, page)
    return run_dir / PAGE


def _edges(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the share of wrong stages by distance from each edge, as the figure shows it."""
    shown = Material(run.predictions, run.stages)
    try:
        true, hit, patients = shown.true, shown.hit, shown.patients
    except AbsentError:
        return []
    return [
        {"edge": edge, "rows": errors_by_edge_distance(true, hit, edge, patients)}
        for edge in run.stages.edges
    ]


def _cases(run: FinishedRun) -> list[dict[Hashable, Any]]:
    """Return the worst and the median radiographs, each with its image."""
    images = films(run)
    cases = pick_cases(run.predictions, run.stages)
    shown = [images.get(id_) for id_ in cases["id"]]
    return cases.assign(image=pd.Series(shown, cases.index, dtype=object)).to_dict("records")


def _maps(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the attribution figures: the newest panel of each task, and all others.

    Panels of test radiographs also have one image per radiograph, under `each`.
    """
    files = sorted((run.path / MAPS).glob("*.png"))
    panels = [file for file in files if "_epoch_" in file.stem]
    panels.sort(key=lambda file: len(file.stem))  # by epoch: 1000 is after 999
    newest = {file.stem.rpartition("_epoch_")[0]: file for file in panels}
    kinds = ("_test", "localisation_", "sanity_")
    shown = [f for f in files if f in newest.values() or any(kind in f.stem for kind in kinds)]
    images = {file.stem: _image(file) for file in shown}
    return [
        {"name": name, "image": _compressed(image), "each": _each(run, name)}
        for name, image in images.items()
        if image is not None
    ]


def _orange(maps: Sequence[str]) -> str:
    """Return what orange does in maps of these names, which begin with their tasks."""
    tasks = [task for task in ORANGE_MEANS if any(name.startswith(f"{task}_") for name in maps)]
    return " or ".join(ORANGE_MEANS[task] for task in tasks) or "raises the output of the model"


def _each(run: FinishedRun, name: str) -> list[dict[str, str]]:
    """Return image and caption of each radiograph of a panel, if they were written."""
    folder = f"{MAPS}/{name}"
    listed = run.table(f"{folder}/{CASES}").reindex(columns=["picture", "caption"], fill_value="")
    images = [embedded(run.path / folder, picture) for picture in listed["picture"]]
    return [
        {"image": image, "caption": caption}
        for image, caption in zip(images, listed["caption"], strict=True)
        if image is not None
    ]


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _image(file: Path) -> np.ndarray | None:
    """Return an image file's pixels, whatever the letters of its path; None if it is damaged."""
    content = np.frombuffer(file.read_bytes(), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None


def _compressed(image: np.ndarray) -> str:
    """Return an image as JPEG, a fifth the size of its PNG."""
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return data_uri(jpeg.tobytes(), "jpeg")
