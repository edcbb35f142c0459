"""Figures: what they show, and that odd tables do not break them."""

import io
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from helpers import predictions
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import FontEntry
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score
from sklearn.metrics import precision_recall_curve as sk_curve

from boneage.evaluation.figures import age, stage, style, training
from boneage.evaluation.figures.comparison import forest, readers_and_model, stress_figure
from boneage.evaluation.figures.registry import FIGURES, draw_figures
from boneage.evaluation.figures.style import styled, to_png
from boneage.evaluation.figures.training import architecture
from boneage.explain.cases import overlay_sheet
from boneage.explain.film import square_film
from boneage.stages import BANDS, Stages

pytestmark = pytest.mark.drawn

OF_AGE = {"scatter", "bland_altman", "residuals"}
OF_STAGE = {"confusion", "error_near_edge"}
OF_PROBABILITY = {"reliability", "precision_recall"}


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def labels(figure):
    return {axes.get_xlabel() for axes in figure.axes} | {a.get_ylabel() for a in figure.axes}


def drawn_boxes(figure, parts):
    """Return where parts of a figure are drawn, in pixels."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return [part.get_window_extent() for part in parts]


def test_columns_decide_what_is_drawn():
    table = predictions()
    age_only = table[["age_years", "sex", "age_years_predicted"]]
    stage_only = table.drop(columns="age_years_predicted")
    assert set(draw_figures(table, Stages())) == OF_AGE | OF_STAGE | OF_PROBABILITY
    assert set(draw_figures(age_only, Stages())) == OF_AGE | OF_STAGE
    assert set(draw_figures(stage_only, Stages())) == OF_STAGE | OF_PROBABILITY
    assert draw_figures(table[["age_years", "sex"]], Stages()) == {}


def test_every_age_axis_has_its_unit():
    figures = draw_figures(predictions(), Stages())
    for name in OF_AGE | {"error_near_edge"}:
        named = [label for label in labels(figures[name]) if label]
        assert named
        for label in named:
            assert any(unit in label for unit in ("(years)", "(months)", "(%)", "squared year")), (
                label
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    "table",
    [
        predictions(1),
        predictions(2),
        predictions().assign(sex="unknown"),
        predictions().assign(age_years=12.0),
        predictions().assign(age_years_predicted=10.0),
        predictions().assign(age_years_predicted=lambda t: t["age_years_predicted"] * 100 - 700),
        predictions().assign(age_years_predicted=lambda t: t["age_years"].where(t.index > 9)),
    ],
    ids=["one", "two", "unknown sex", "one age", "constant", "far out", "some not finite"],
)
def test_odd_tables_are_drawn(table):
    n = (table["age_years_predicted"].abs() <= 150).sum()  # years; larger ones and NaN are left out
    figures = draw_figures(table, Stages())
    assert set(figures) == OF_AGE | OF_STAGE | OF_PROBABILITY
    for figure in figures.values():
        assert to_png(figure).startswith(b"\x89PNG")
        for axes in figure.axes:
            assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
    for name in OF_AGE:  # every radiograph is a point within the axes
        axes = figures[name].axes[0]
        points = np.concatenate([clouds.get_offsets() for clouds in axes.collections])
        assert len(points) == n
        for values, (low, high) in zip(points.T, (axes.get_xlim(), axes.get_ylim()), strict=True):
            assert low <= values.min()
            assert values.max() <= high
    counts = [int(text.split("\n")[0]) for text in texts(figures["confusion"])]
    assert sum(counts) == n
    heights = [bar.get_height() for bar in figures["reliability"].axes[1].patches]
    assert sum(heights) == n


def test_nothing_finite_draws_nothing():
    assert draw_figures(predictions().assign(age_years_predicted=np.nan), Stages()) == {}


@pytest.mark.slow
def test_other_stages_and_names_are_drawn():
    table = predictions()[["age_years", "sex", "age_years_predicted"]]
    for stages in (Stages(["all"], []), Stages(["$x", "<b>", "c", "d", "e"], [3, 6, 9, 12])):
        figures = draw_figures(table, stages)
        assert texts(figures["scatter"]) == list(stages.names)
        for figure in figures.values():
            assert to_png(figure).startswith(b"\x89PNG")


def test_confusion_matrix_shows_counts_row_percent_and_small_n():
    few = np.array([False, True])
    figure = stage.confusion_matrix(np.array([[30, 10], [1, 3]]), ("a", "b"), few)
    assert texts(figure) == ["30\n75 %", "10\n25 %", "1\n25 %", "3\n75 %"]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["a\nn = 40", "b\nn = 4†"]
    of_row = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert of_row["10\n25 %"] == (1, 0)  # true a, predicted b
    assert figure.axes[0].images[0].get_array().tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_bland_altman_lines_by_hand():
    figure = age.bland_altman(np.array([5.0, 6, 7, 8]), np.array([6.0, 6, 8, 8]))
    # differences in months 12, 0, 12, 0: mean 6, standard deviation 6.928
    assert [t.split("\n")[1] for t in texts(figure)] == ["+6.00", "+19.58", "-7.58"]
    points = figure.axes[0].collections[0].get_offsets()
    assert points.tolist() == [[5.5, 12], [6, 0], [7.5, 12], [8, 0]]
    drawn = [line.get_ydata()[0] for line in figure.axes[0].lines]
    assert drawn == pytest.approx([6, 6 + 1.96 * 6.9282, 6 - 1.96 * 6.9282], abs=1e-3)


def test_density_by_hand():
    """Each radiograph spreads over its cell of half a year and the next ones: 1/4, 1/2, 1/4."""
    true, predicted = np.array([2.7, 9.2, 2.2, 2.3]), np.array([2.2, 12.2, 2.2, 2.2])
    axes = age.scatter(true, predicted, Stages()).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [20, 20]]  # no error
    cloud = axes.collections[0]
    drawn = dict(zip(map(tuple, cloud.get_offsets().tolist()), cloud.get_array(), strict=True))
    # a cell is a quarter of a squared year; the first is next to the cell of the last two
    shares = (1 / 4 + 2 / 8, 1 / 4, 2 / 4 + 1 / 8, 2 / 4 + 1 / 8)
    expected = zip(zip(true.tolist(), predicted.tolist(), strict=True), shares, strict=True)
    assert drawn == pytest.approx({point: 4 * share for point, share in expected})


def test_errors_of_each_sex_are_in_months():
    true, sex = np.array([5.0, 6.0, 7.0]), np.array(["male", "female", "male"])
    axes = age.residuals(true, true + np.array([1.0, -0.5, 0.25]), sex).axes[0]
    drawn = {cloud.get_label(): cloud.get_offsets().tolist() for cloud in axes.collections}
    assert drawn == {"female (n = 1)": [[6, -6]], "male (n = 2)": [[5, 12], [7, 3]]}


def test_changed_radiographs_are_compared_with_the_unchanged_ones():
    """The changes of the second metric are in another order than those of the first."""
    rows = [("unchanged", "mae_months", 5.0), ("gamma 2", "mae_months", 9.0)]
    rows += [("gamma 2", "accuracy", 0.7), ("unchanged", "accuracy", 0.9)]
    table = pd.DataFrame(rows, columns=["change", "metric", "value"]).assign(n=50)
    table = table.assign(low=table["value"] - 0.1, high=table["value"] + 0.1)
    panels = stress_figure(table).axes
    for axes, (unchanged, changed) in zip(panels, ((5.0, 9.0), (0.9, 0.7)), strict=True):
        values, dashed = axes.lines
        assert values.get_xdata().tolist() == [unchanged, changed]
        limits = [segment[:, 0] for segment in axes.collections[0].get_segments()]
        np.testing.assert_allclose(limits, [[v - 0.1, v + 0.1] for v in (unchanged, changed)])
        assert list(dashed.get_xdata()) == [unchanged, unchanged]


@pytest.mark.parametrize("outlier", [0.0, 40.0])
def test_bland_altman_labels_do_not_overlap(outlier):
    """All errors equal, or limits that one error of 40 years makes narrow on the axis."""
    true = np.linspace(1, 18, 3000)
    figure = age.bland_altman(true, true + np.where(np.arange(3000) == 7, outlier, 0))
    boxes = drawn_boxes(figure, figure.axes[0].texts)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_labels_fit_into_their_blocks():
    block = {"label": "4 x fused inverted residual block, stride2", "shape": [8, 8, 8]}
    described = {"input": [1, 64, 64], "backbone": [block | {"parameters": 1_234_567}], "sex": []}
    with styled():
        figure = architecture(described | {"heads": {"age": [block | {"parameters": 1}]}})
    axes = figure.axes[0]
    boxes, labels_ = drawn_boxes(figure, axes.patches), drawn_boxes(figure, axes.texts)
    width = max(box.width for box in boxes)
    assert all(label.width <= width for label in labels_)


def test_the_captions_of_a_sheet_do_not_overlap():
    films = [square_film(np.zeros((64, 64), np.uint8))] * 2
    names = [f"a hospital with a long name/department/patient_{k}_left_hand" * 2 for k in (1, 2)]
    captions = [f"{name}, female, 11.4 y\npredicted 9.7 y" for name in names]
    with styled():
        figure = overlay_sheet(films, np.zeros((2, 4, 4)), captions)
        titles = [axes._left_title for axes in figure.axes if axes.get_title("left")]
        first, second = drawn_boxes(figure, titles)
    assert not first.overlaps(second)
    assert all(text.get_text().endswith(", female, 11.4 y\npredicted 9.7 y") for text in titles)


def test_each_radiograph_of_a_sheet_is_next_to_its_map():
    """Row by row, four in a row; a map of zeros shows the radiograph."""
    films = [square_film(np.full((8, 8), 10 * k, np.uint8)) for k in range(5)]
    figure = overlay_sheet(films, np.zeros((5, 4, 4)), [f"caption {k}" for k in range(5)])
    drawn = [(a, a.images[0].get_array()) for a in figure.axes[:16] if a.images]
    assert [int(image.max()) for _, image in drawn] == [10 * k for k in range(5) for _ in (0, 1)]
    assert [a.get_title("left") for a, _ in drawn[::2]] == [f"caption {k}" for k in range(5)]
    assert [int(a.get_subplotspec().rowspan.start) for a, _ in drawn] == [0] * 8 + [1] * 2


def test_the_legend_of_reliability_hides_no_data():
    figure = stage.reliability_diagram(np.eye(3)[[0, 1, 2, 2]], np.array([0, 1, 2, 0]))
    legend, axes = drawn_boxes(figure, [figure.axes[0].get_legend(), figure.axes[0].patch])
    assert legend.y0 >= axes.y1


def test_running_mean_by_hand():
    ages = np.array([4.0, 4.5, 5.0, 5.5, 6.0, 15.0])
    grid, mean = age.running_mean(ages, np.array([1.0, 2, 3, 4, 5, 100]))
    assert mean[grid == 5.0] == pytest.approx(3)  # all five are within a year
    assert np.isnan(mean[grid == 15.0])  # one alone is no mean
    assert np.isnan(mean[grid == 4.5])  # four are too few


def test_small_bands_have_hollow_markers():
    rows = [("0-2", "mae", 5.0, 50), ("2-5", "mae", 7.0, 3), ("0-2", "bias", 5.0, 50)]
    table = pd.DataFrame(rows, columns=["band", "metric", "value", "n"]).assign(sex="all")
    table["metric"] = "age/" + table["metric"] + "_months"
    with styled():
        figure = age.error_by_band(table.assign(low=4.0, high=9.0))
    faces = [line.get_markerfacecolor() for line in figure.axes[0].lines]
    assert len(faces) == 2
    assert faces[0] != "white"
    assert faces[1] == "white"
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks[:3] == ["0-2\n50", "2-5\n3", "5-10\n0"]


def test_precision_recall_against_scikit_learn():
    rng = np.random.default_rng(0)
    score = rng.integers(0, 20, 200) / 20  # with ties
    positive = rng.random(200) < score
    recall, precision = stage.precision_recall_curve(score, positive)
    expected_precision, expected_recall, _ = sk_curve(positive, score)
    np.testing.assert_allclose(recall, expected_recall[:-1][::-1])
    np.testing.assert_allclose(precision, expected_precision[:-1][::-1])


def test_learning_curves_show_every_task():
    history = pd.DataFrame(
        {"epoch": [0, 1], "learning_rate": [1e-3, 0], "train/loss": [3.0, 2.0], "val/loss": [3, 2]}
        | {
            f"{fold}/{task}/loss": [2.0, 1.0]
            for fold in ("train", "val")
            for task in ("age", "toy")
        }
        | {"val/age/mae_months": [20.0, 15.0]}
    )
    figure = training.learning_curves(history)
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert titles == ["Bone age: loss", "Toy: loss", "Bone age: MAE (months)", "Learning rate"]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2]


def test_learning_curves_join_the_validated_epochs():
    history = pd.DataFrame({"epoch": range(5), "learning_rate": 0.1})
    history["train/age/loss"] = [5.0, 4, 3, 2, 1]
    history["val/age/loss"] = [np.nan, 4.5, np.nan, 2.5, np.nan]
    figure = training.learning_curves(history)
    train, val = figure.axes[0].lines
    assert figure.axes[1].lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]  # learning rate
    assert train.get_xydata().tolist() == [[1, 5], [2, 4], [3, 3], [4, 2], [5, 1]]
    assert val.get_xydata().tolist() == [[2, 4.5], [4, 2.5]]


def test_folds_are_counted():
    table = pd.DataFrame(
        {"fold": ["train", "train", "train", "val"], "age_years": [1.0, 2, 3, 2]}
    ).assign(sex=["male", "female", "male", "female"])
    panels = training.fold_distribution(table).axes
    counts = ["training, n = 3\n1 female, 2 male", "validation, n = 1\n1 female, 0 male"]
    assert [axes.get_title() for axes in panels] == counts
    for axes, heights in zip(panels, ([1, 2], [1, 0]), strict=True):
        assert [bars[0].get_label() for bars in axes.containers] == ["female", "male"]
        drawn = [sum(bar.get_height() for bar in bars) for bars in axes.containers]
        assert drawn == heights


def test_folds_of_a_test_alone_have_one_panel():
    table = pd.DataFrame({"fold": "test", "age_years": [1.0, 2], "sex": ["male", "unknown"]})
    (axes,) = training.fold_distribution(table).axes
    assert axes.get_title() == "test, n = 2\n1 male, 1 unknown"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("bone age (years)", "radiographs")


@pytest.mark.drawn
def test_learning_curves_that_hardly_change_have_plain_numbers():
    history = pd.DataFrame({"epoch": [0, 1], "learning_rate": 0.1, "val/age/loss": 33.18})
    history.loc[1, "val/age/loss"] += 0.01
    figure = training.learning_curves(history)
    figure.savefig(io.BytesIO(), format="png")
    assert figure.axes[0].yaxis.get_offset_text().get_text() == ""
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert all(label.startswith("33.") for label in labels)


def test_architecture_names_every_block():
    block = {"label": "conv 3x3", "shape": [8, 4, 4], "parameters": 1234}
    head = {"label": "fully connected 1", "shape": [1], "parameters": 9}
    figure = architecture(
        {
            "input": [1, 8, 8],
            "backbone": [block],
            "sex": [],
            "heads": {"age": [head], "toy": [head]},
        }
    )
    shown = texts(figure)
    assert "conv 3x3" in shown
    assert "8 x 4 x 4, 1,234 parameters" in shown
    assert shown.count("fully connected 1") == 2
    assert {"Bone age", "Toy"} <= set(shown)


@pytest.mark.parametrize("edges", [(10,), (10, 18), (2, 5, 10, 14, 17)])
def test_each_edge_between_stages_has_a_panel(edges):
    names = tuple(f"stage {k}" for k in range(len(edges) + 1))
    stages = Stages(names, edges)
    table = predictions().drop(columns=[f"stage_probability_{name}" for name in Stages().names])
    table["stage_predicted"] = [names[k] for k in stages.index_of(table["age_years_predicted"])]
    figure = draw_figures(table, stages)["error_near_edge"]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"stage {k} to stage {k + 1}: {edge} years" for k, edge in enumerate(edges)]
    for axes, edge in zip(figure.axes, edges, strict=True):
        counts = [int(label.get_text().split("\n")[1]) for label in axes.get_xticklabels()]
        distance = table["age_years"] - edge
        inner = (
            ((distance >= -0.5) & (distance < 0)).sum(),
            ((distance >= 0) & (distance < 0.5)).sum(),
        )
        assert (counts[4], counts[5]) == inner
        assert sum(counts) == len(table)
        wrong = table["stage_predicted"] != np.array(names)[stages.index_of(table["age_years"])]
        for place, inside in ((4, (-0.5, 0)), (5, (0, 0.5))):
            chosen = wrong[distance.between(*inside, inclusive="left")]
            if len(chosen):
                share = binomtest(int(chosen.sum()), len(chosen)).proportion_ci()
                (line,) = (c for c in axes.collections if c.get_segments()[0][0][0] == place)
                limits = line.get_segments()[0][:, 1]
                assert limits == pytest.approx([100 * share.low, 100 * share.high])
        tops = [line.get_segments()[0][1][1] for line in axes.collections]
        assert axes.get_ylim()[0] == 0
        assert axes.get_ylim()[1] >= max(tops)


def test_without_an_edge_there_is_no_figure_of_edges():
    table = predictions().drop(columns=["stage_predicted"])
    assert "error_near_edge" not in draw_figures(table, Stages(("all",), ()))


def test_captions_say_what_hollow_markers_count():
    """Figures whose markers are of `is_few` count patients, if known."""
    of_patients = {"confusion", "readers", "error_by_band", "error_near_edge"}
    said = {entry.name for entry in FIGURES if "20 radiographs (or patients" in entry.caption}
    assert said == of_patients


@pytest.mark.parametrize("far", [(5.0, 5.0), (-30.0, 49.0), (-140.0, 140.0)])
def test_far_predictions_leave_the_scatter_square(far):
    table = predictions()
    predicted = np.array([*far, *table["age_years_predicted"][2:]])
    figure = age.scatter(table["age_years"].to_numpy(), predicted, Stages())
    axes = figure.axes[0]
    box, *names = drawn_boxes(figure, [axes, *axes.texts])
    assert box.width == pytest.approx(box.height)
    assert box.width > figure.bbox.width / 2
    assert all(left.x1 < right.x0 for left, right in pairwise(names))


def test_long_names_of_runs_do_not_widen_the_forest_plot():
    rows, panels = (
        [f"{'backbone=resnet18,' * 8}seed={k}" for k in range(2)],
        {"MAE": np.ones((2, 3))},
    )
    long, short = (
        forest([name[-n:] for name in rows], panels, {"MAE": np.zeros(2, bool)}, {})
        for n in (200, 40)
    )
    assert long.get_figwidth() <= short.get_figwidth()
    labels = long.axes[0].get_yticklabels()
    assert [label.get_text().replace("\n", "") for label in labels] == rows
    assert all(line.endswith(",") for label in labels for line in label.get_text().split("\n")[:-1])
    lower, upper = sorted(drawn_boxes(long, labels), key=lambda box: box.y0)
    assert lower.y1 < upper.y0


def test_characters_that_the_font_lacks_are_no_warnings(recwarn):
    with styled():
        figure = overlay_sheet(
            [square_film(np.zeros((9, 9), np.uint8))], np.ones((1, 9, 9)), ["患者 مريض"]
        )
        assert to_png(figure).startswith(b"\x89PNG")
    assert not recwarn.list


def test_installed_east_asian_fonts_are_used_after_the_usual_one(monkeypatch):
    monkeypatch.setattr(style.fontManager, "ttflist", fonts := list(style.fontManager.ttflist))
    usual = list(mpl.rcParams["font.family"])
    fonts += [FontEntry(name="Noto Sans CJK JP"), FontEntry(name="Noto Sans Math")]
    style._east_asian_fonts.cache_clear()
    with styled(), styled():
        families = mpl.rcParams["font.family"]
    style._east_asian_fonts.cache_clear()
    assert families[: len(usual)] == usual
    assert families.count("Noto Sans CJK JP") == 1
    assert "Noto Sans Math" not in families


def test_a_name_is_never_a_command_of_latex():
    """A user's matplotlibrc may set all text in LaTeX, which runs commands in it."""
    with mpl.rc_context({"text.usetex": True}), styled():
        figure = overlay_sheet(
            [square_film(np.zeros((9, 9), np.uint8))], np.ones((1, 9, 9)), [r"\input{/etc/passwd}"]
        )
        assert to_png(figure).startswith(b"\x89PNG")
        assert not any(text.get_usetex() for axes in figure.axes for text in [axes.title])


LONG = Stages(
    ["prepubertal development before any visible sesamoid", "early growth spurt (Krankenhaus)"]
    + [f"late_adolescence_{k}" for k in range(3)],
    [8, 10, 10.4, 16],
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages", [Stages(), LONG, Stages([f"S{k}" for k in range(30)], np.linspace(1, 18, 29))]
)
def test_names_of_stages_are_neither_cut_off_nor_overlap(stages):
    table = predictions()
    names = np.array(stages.names)
    for k, name in enumerate(names):
        table[f"stage_probability_{name}"] = 1 / (1 + (np.arange(80) - k) % len(names))
    figures = draw_figures(table.assign(stage_predicted=names[0]), stages)
    assert set(figures) == OF_AGE | OF_STAGE | OF_PROBABILITY
    for figure in figures.values():
        (all_of_it,) = drawn_boxes(figure, [figure])
        drawn = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
        assert all_of_it.x0 <= drawn.x0 + 1
        assert drawn.x1 - 1 <= all_of_it.x1
        assert all_of_it.y0 <= drawn.y0 + 1
        assert drawn.y1 - 1 <= all_of_it.y1
        assert figure.axes[0].get_window_extent().width > all_of_it.width / 4
    matrix, cloud = figures["confusion"].axes[0], figures["scatter"].axes[0]
    for named in (matrix.get_xticklabels(), matrix.get_yticklabels(), cloud.texts):
        boxes = [label.get_window_extent() for label in named]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def test_a_long_name_of_a_stage_is_shortened_also_without_spaces():
    long = "prepubertal{0}development{0}before{0}any{0}visible{0}sesamoid"
    names = (long.format(" "), long.format("_"), "x" * 50, "adult")
    true = np.linspace(1, 19, 20)
    figure = age.scatter(true, true, Stages(names, (5, 10, 15)))
    shown = [label.get_text() for label in figure.axes[0].texts]
    begun = "prepubertal{0}development{0}before{0}any"
    assert shown == [
        f"{begun.format(' ')} ...",
        f"{begun.format('_')}_ ...",
        "x" * 36 + " ...",
        "adult",
    ]


def test_reliability_of_many_radiographs_keeps_its_layout():
    """No bin is small: no marker is hollow."""
    confidence = np.repeat(np.linspace(0.5, 1, 5), 50)
    probability = np.stack([confidence, 1 - confidence], axis=1)
    figure = stage.reliability_diagram(probability, np.arange(250) % 2)
    upper, lower = drawn_boxes(figure, figure.axes)
    assert 2.5 < upper.height / lower.height < 3.5
    assert upper.height > figure.bbox.height / 2


@pytest.mark.parametrize(("n", "hollow"), [(19, 1), (20, 0)])
def test_bins_of_few_radiographs_are_hollow(n, hollow):
    confidence = np.repeat([0.6, 0.9], [n, 50])
    probability = np.stack([confidence, 1 - confidence], axis=1)
    true = np.repeat([0, 1, 0], [n, 20, 30])  # 30 of 50 are correct at 0.9
    upper, lower = stage.reliability_diagram(probability, true).axes
    lines = upper.lines
    np.testing.assert_allclose(lines[1].get_xydata(), [[0.6, 1], [0.9, 0.6]])
    bars = {
        round(bar.get_x() + bar.get_width() / 2, 3): bar.get_height()
        for bar in lower.patches
        if bar.get_height()
    }
    # the 9th and the 14th of 15 bins, which are closed on the right
    assert bars == {round(8.5 / 15, 3): n, round(13.5 / 15, 3): 50}
    white = [line.get_xdata().tolist() for line in lines if line.get_markerfacecolor() == "white"]
    assert white == [pytest.approx([0.6])] * hollow


def test_stages_of_few_patients_are_marked():
    """Many radiographs of few patients, next to a stage of many patients."""
    table = pd.DataFrame({"age_years": np.repeat([5.0, 12.0], 30), "sex": "male"})
    table["patient"] = [*map(str, range(30)), *["a", "b", "c"] * 10]
    table["age_years_predicted"] = table["age_years"].where(table.index >= 10, 12.0)
    figure = draw_figures(table, Stages(("low", "high"), (10,)))["confusion"]
    assert texts(figure) == ["20\n67 %", "10\n33 %", "0\n0 %", "30\n100 %"]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["low\nn = 30", "high\nn = 30†"]


def test_bands_of_a_run_are_in_their_order():
    rows = [("10-14", "mae", 7.0), ("2-5", "mae", 5.0), ("10-14", "bias", 2.0), ("2-5", "bias", -1)]
    table = pd.DataFrame(rows, columns=["band", "metric", "value"]).assign(sex="all", n=[9, 8] * 2)
    table["metric"] = "age/" + table["metric"] + "_months"
    table = table.assign(low=lambda t: t["value"] - 1, high=lambda t: t["value"] + 1)
    panels = age.error_by_band(table).axes
    at = [BANDS.names.index(band) for band in ("2-5", "10-14")]
    for axes, values in zip(panels, ([5.0, 7.0], [-1.0, 2.0]), strict=True):
        points = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "o"]
        assert points == [[place, value] for place, value in zip(at, values, strict=True)]
        limits = [line.get_segments()[0][:, 1].tolist() for line in axes.collections]
        assert limits == [[value - 1, value + 1] for value in values]
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert [ticks[place] for place in at] == ["2-5\n8", "10-14\n9"]


def test_precision_recall_is_drawn_over_all_of_its_area():
    rng = np.random.default_rng(0)
    score = rng.integers(0, 3, 90) / 2  # the highest threshold finds many
    positive = rng.random(90) < 0.2 + 0.6 * score
    figure = stage.precision_recall(np.stack([score, 1 - score], 1), 1 - positive, ("a", "b"))
    line = figure.axes[0].lines[0]
    x, y = line.get_xdata(orig=True), line.get_ydata(orig=True)
    area = np.sum(np.diff(x) * y[1:])  # a step before each point
    assert (x[0], y[0]) == (0, y[1])
    expected = average_precision_score(positive, score)
    assert area == pytest.approx(expected)
    n = positive.sum()
    label = f"a (n = {n}, average precision {expected:.2f})"
    assert figure.axes[0].get_legend_handles_labels()[1][0] == label
    assert figure.axes[0].lines[1].get_ydata()[0] == pytest.approx(n / 90)  # by chance


def test_ages_above_20_years_are_shown():
    true = np.linspace(0.5, 24.5, 49)
    sex = np.repeat("female", 49)
    stages = Stages(("a", "b", "c"), (10, 23))
    cloud, errors = age.scatter(true, true - 1, stages), age.residuals(true, true - 1, sex)
    for figure in (cloud, errors):
        assert figure.axes[0].get_xlim() == (0, 25)
    assert len(errors.axes[0].lines[1].get_xdata()) == 51  # the running mean, by half a year
    density = cloud.axes[0].collections[0].get_array()
    assert density.max() < 2 * density.min()  # on a line all have as many neighbours, but the ends
    table = pd.DataFrame({"fold": "test", "age_years": true, "sex": sex})
    bars = [bar.get_height() for bar in training.fold_distribution(table).axes[0].patches]
    assert sum(bars) == 49


def test_long_names_of_readers_leave_room_for_their_errors(recwarn):
    result = {"value": 5.0, "low": 4.0, "high": 6.0, "n": 30}
    names = [f"Prof. Dr. med. {'Wiesenthal-Koenigsberger ' * 4}{k}" for k in range(3)]
    report = {
        "names": names,
        "agreement": {f"readers/mae_months_{name}": result for name in names},
        "comparisons": [{"reader": name, "model_mae": result} for name in names],
    }
    figure = readers_and_model(report)
    (axes,) = figure.axes
    box, legend, *labels = drawn_boxes(figure, [axes, axes.get_legend(), *axes.get_yticklabels()])
    assert box.width > figure.bbox.width / 2
    assert legend.x1 <= figure.bbox.width
    assert all(label.x0 >= 0 for label in labels)
    assert not any(a.overlaps(b) for a, b in pairwise(labels))
    assert not recwarn.list


@pytest.mark.parametrize(("counted", "marked"), [({}, False), ({"patients": 14}, True)])
def test_the_figure_of_changed_radiographs_explains_its_signs(counted, marked):
    table = pd.DataFrame({"change": ["unchanged", "gamma 2"]}).assign(
        metric="mae_months", value=5.0, low=4.0, high=6.0, n=12345, **counted
    )
    with styled():
        figure = stress_figure(table)
        (note,) = drawn_boxes(figure, [figure._supxlabel])
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ticks[0] == f"unchanged (n = 12,345{'†' if marked else ''})"
    said = figure.get_supxlabel()
    assert "95 % intervals" in said
    assert ("† fewer than 20" in said.replace("\n", " ")) == marked
    assert note.x0 >= 0
    assert note.x1 <= figure.bbox.width
