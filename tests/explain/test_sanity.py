"""The checks of maps, on models whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import compose_config
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import nn

from boneage.evaluation.figures.style import styled
from boneage.explain.attention import enrichment_by_age
from boneage.explain.methods import enlarge, grad_cam
from boneage.explain.sanity import deletion, mean_distances, randomisation, sanity_figure
from boneage.run.checkpoint import build_model
from boneage.stages import BANDS


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8)


def corner_mean(images):
    """A prediction that rests on the top left quarter alone, far from its blurred picture."""
    return (images[:, :16, :16].astype(float) ** 2).mean(axis=(1, 2))


def corner_map(inside):
    marks = np.zeros((6, 32, 32))
    marks[:, :16, :16] = inside
    return marks + np.random.default_rng(1).random((6, 32, 32)) * 1e-3


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_faithful_map_beats_random_pixels(images, sign):
    curves = deletion(images, corner_map(sign), corner_mean)
    distances = mean_distances(curves)
    assert distances["deletion"]["low"] > 0
    assert distances["insertion"]["high"] < 0
    ends = curves.groupby(["order", "share"])[["deletion", "insertion"]].mean()
    for order in ("marked", "random"):
        assert ends.loc[(order, 0.0), "deletion"] == 0
        assert ends.loc[(order, 1.0), "insertion"] == 0
        assert ends.loc[(order, 1.0), "deletion"] == pytest.approx(
            ends.loc[(order, 0.0), "insertion"]
        )


def test_a_map_beside_the_point_does_not(images):
    elsewhere = corner_map(-0.0)
    elsewhere[:, 16:] += 1
    assert mean_distances(deletion(images, elsewhere, corner_mean))["deletion"]["high"] < 0


def test_areas_by_hand():
    rows = [
        {"image": image, "order": order, "share": share, "deletion": value, "insertion": 0.0}
        for image in (0, 1)
        for order, values in (("marked", (0.0, 2.0)), ("random", (0.0, 1.0)))
        for share, value in zip((0.0, 1.0), values, strict=True)
    ]
    assert mean_distances(pd.DataFrame(rows))["deletion"]["value"] == pytest.approx(0.5)


def test_areas_resample_patients():
    rng = np.random.default_rng(0)
    values = np.tile(rng.random(10), 4)
    rows = [
        {"image": i, "order": order, "share": 0.0, "deletion": value * (order == "marked")}
        for i, value in enumerate(values)
        for order in ("marked", "random")
    ]
    curves = pd.DataFrame(rows).assign(insertion=0.0)
    once = mean_distances(curves[curves["image"] < 10])["deletion"]
    of_patients = mean_distances(curves, np.tile(np.arange(10), 4))["deletion"]
    assert of_patients["patients"] == 10
    assert (of_patients["low"], of_patients["high"]) == pytest.approx((once["low"], once["high"]))


def test_maps_forget_with_the_weights_and_the_model_stays(images):
    torch.manual_seed(3)
    model = build_model(compose_config("backbone=paper_cnn", "backbone.widths=[8,16]"), {}).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image, sex = torch.from_numpy(images)[:, None], torch.zeros(6, dtype=torch.int64)

    def maps(which):
        return enlarge(grad_cam(which, image, sex, "age"), 32).numpy()

    state = torch.get_rng_state()
    result = randomisation(model, "age", maps, images, sex)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    first, last = (result[result["layers"] == k] for k in (0, result["layers"].max()))
    assert list(first["image"]) == list(last["image"]) == list(range(6))
    assert (first["spearman"] > 0.9999).all()
    assert (first["ssim"] > 0.9999).all()
    assert last["spearman"].abs().median() < 0.6
    assert last["ssim"].median() < 0.9


def test_maps_that_ignore_the_weights_are_found_out(configure, images):
    model, sex = build_model(configure(), {}).eval(), torch.zeros(6, dtype=torch.int64)
    result = randomisation(model, "age", lambda _: images.astype(np.float32), images, sex)
    assert (result["spearman"] > 0.9999).all()
    constant = randomisation(model, "age", lambda _: np.zeros((6, 32, 32)), images, sex)
    assert constant["spearman"].isna().all()  # no map at all


def test_reset_layers_normalise_the_radiographs_and_others_are_as_trained(configure, images):
    """As by hand, with mean 0 and variance 1: a channel that is always zero has no map."""
    model, sex = build_model(configure(), {}).eval(), torch.zeros(6).long()
    image = torch.from_numpy(images)[:, None]
    norms = [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    steps = []

    def maps(which):
        outputs = []
        for name in norms:
            layer = which.get_submodule(name)
            hook = layer.register_forward_hook(lambda m, _, out: outputs.append(out.clone()))
            hooks.append(hook)
        with torch.no_grad():
            which(torch.cat([image, image.flip(-1)]), sex.repeat(2))
        while hooks:
            hooks.pop().remove()
        steps.append([out.transpose(0, 1).flatten(1) for out in outputs])
        return images.astype(np.float32)

    hooks = []
    randomisation(model, "age", maps, images, sex)
    trained, *others, last = steps
    for output in last:
        assert output.mean(dim=1).abs().max() < 0.01
        torch.testing.assert_close(output.var(dim=1), torch.ones(len(output)), rtol=0, atol=0.05)
    # the first is a layer of the head
    assert all(torch.equal(*outputs) for outputs in zip(others[0], trained, strict=True))


def test_labels_are_within_their_axes(images):
    """A label that is longer than its axis reaches the edge of the figure."""
    curves = deletion(images, corner_map(1.0), corner_mean)
    randomised = pd.DataFrame({"layers": [0, 1], "spearman": [1, 0.2], "ssim": [1, 0.5]})
    with styled():
        figure = sanity_figure(randomised, curves, "probability")
        FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        assert axes.yaxis.label.get_window_extent().height < axes.bbox.height


def test_medians_of_maps_and_means_of_changes_are_drawn():
    rows = {"layers": [0, 0, 0, 1, 1, 1], "spearman": [1, 1, 1, 0.9, 0.1, 0.2]}
    randomised = pd.DataFrame(rows).assign(ssim=lambda t: t["spearman"] / 2)
    columns = ["order", "share", "deletion"]
    changes = [("marked", 0.0, 0), ("marked", 0.5, 1), ("marked", 0.5, 2), ("marked", 0.5, 9)]
    curves = pd.DataFrame([*changes, ("random", 0.5, 3)], columns=columns)
    curves["insertion"] = 10 * curves["deletion"]
    left, *others = sanity_figure(randomised, curves, "years").axes
    drawn = [line.get_xydata().tolist() for line in left.lines]
    assert drawn == [[[0, 1], [1, 0.2]], [[0, 0.5], [1, 0.1]]]
    for axes, factor in zip(others, (1, 10), strict=True):
        marked, random = (line.get_xydata().tolist() for line in axes.lines)
        assert marked == [[0, 0], [50, 4 * factor]]
        assert random == [[50, 3 * factor]]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
def test_every_column_of_regions_has_ages_below(n):
    rows = [(f"region_{i}", band) for i in range(n) for band in BANDS.names]
    table = pd.DataFrame(rows, columns=["region", "group"]).assign(
        source="model", checkpoint=1, metric="enrichment", value=1.0, low=0.5, high=3.0, n=30
    )
    figure = enrichment_by_age(table)
    FigureCanvasAgg(figure).draw()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [f"region {i}" for i in range(n)]
    for i, axes in enumerate(shown):
        labelled = any(
            t.label1.get_visible() and t.label1.get_text() for t in axes.xaxis.majorTicks
        )
        assert labelled == (i + 3 >= n)


@pytest.mark.parametrize(("counted", "hollow"), [({}, 0), ({"patients": 5}, len(BANDS))])
def test_bands_of_few_patients_are_hollow(counted, hollow):
    table = pd.DataFrame({"region": "carpals", "group": BANDS.names}).assign(
        source="model", checkpoint=1, metric="enrichment", value=1.0, low=0.5, high=3.0, n=30,
        **counted,
    )  # fmt: skip
    with styled():
        figure = enrichment_by_age(table)
        FigureCanvasAgg(figure).draw()
    (axes,), (legend,) = figure.axes, figure.legends
    assert legend.get_window_extent().x0 >= 0
    assert legend.get_window_extent().x1 <= figure.bbox.width
    explained = [text.get_text() for text in legend.texts]
    assert "95 % interval" in explained
    assert ("fewer than 20 radiographs (or patients, if known)" in explained) == bool(hollow)
    white = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert sum(len(line.get_xdata()) for line in white) == hollow
