"""Background and laterality marker: found where they were planted, and what they do."""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from boneage.data.decode import Geometry, Preprocessing
from boneage.data.hand import Crop
from boneage.data.phantom import expose
from boneage.explain.claim import background_sentences
from boneage.explain.localisation import Sample, age_groups, marker_effect
from boneage.explain.regions import (
    BACKGROUND,
    MARKER,
    SOFT_TISSUE,
    _with_background,
    background_masks,
    mirrored_mask,
    paint_over,
)
from boneage.stages import Stages

INNER = Crop((0.3, 0.3, 1.0, 1.0))  # without the marker


@pytest.fixture
def film(monkeypatch):
    """A hand of 12 years without marker, and where one is written."""
    monkeypatch.setattr("boneage.data.phantom.write._mark", lambda image, rng: image)
    image = expose(12, "male", 256, np.random.default_rng(3)).image
    return image, np.s_[10:42, 6:34]  # the letters of OpenCV 4 and 5 differ


def with_marker(image):
    return cv2.putText(image.copy(), "L", (10, 36), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 250, 3)


def test_the_marker_is_found_where_it_is(film):
    image, place = film
    assert MARKER not in background_masks(image)
    masks = background_masks(with_marker(image))
    planted = with_marker(image) != image
    assert masks[MARKER][planted].all()
    assert masks[MARKER].sum() == masks[MARKER][place].sum()
    assert not (masks[MARKER] & masks["hand"]).any()
    assert (masks[BACKGROUND] == ~masks["hand"]).all()


def test_of_two_markers_the_stronger_is_found(film):
    image, _ = film
    marked = with_marker(image)
    both = cv2.putText(marked.copy(), "L", (10, 90), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 250, 2)
    alone = np.where(both != marked, both, image)
    assert background_masks(alone)[MARKER][both != marked].all()
    assert (background_masks(both)[MARKER] == background_masks(marked)[MARKER]).all()


def test_a_marker_next_to_the_hand_does_not_reach_into_it(film):
    image, _ = film
    marked = cv2.putText(image.copy(), "L", (127, 175), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 250, 3)
    masks = background_masks(marked)
    assert masks[MARKER].any()
    beyond = cv2.dilate(masks["hand"].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert not (masks[MARKER] & beyond).any()


def test_specks_and_frames_are_no_marker(film):
    image, _ = film
    speckled, framed = image.copy(), image.copy()
    speckled[20:22, 20:22] = speckled[24:26, 24:26] = 250  # 8 pixels
    framed[6:10, 20:180] = framed[20:200, 190:194] = 250
    for changed in (speckled, framed):
        assert MARKER not in background_masks(changed)


def test_what_is_detected_is_added_to_the_regions_as_far_as_it_is_shown(film):
    image = with_marker(film[0])
    drawn = np.zeros((256, 256), bool)
    drawn[100:120, 100:120] = True
    for crop, detected in ((Crop(), {"hand", BACKGROUND, MARKER}), (INNER, {"hand", BACKGROUND})):
        geometry = Geometry(*image.shape, Preprocessing(256, fit="squash"), crop)
        assert {*_with_background({"box": drawn}, image, geometry)} == {"box"} | detected
        exact = _with_background({SOFT_TISSUE: drawn}, image, geometry)
        assert {*exact} == {SOFT_TISSUE} | detected - {"hand"}  # which is exact
        assert (exact[BACKGROUND] == ~drawn).all()


def test_no_hand_no_background():
    assert background_masks(np.zeros((100, 80), np.uint8)) == {}


def test_painting_over_removes_the_marker_and_nothing_else(film):
    image, _ = film
    marked = with_marker(image)
    mask = background_masks(marked)[MARKER]
    (painted,) = paint_over(marked[None], mask[None])
    assert (painted[~mask] == marked[~mask]).all()
    assert np.abs(painted.astype(int) - image)[mask].max() < 40
    assert marked[mask].max() == 250


def test_elsewhere_avoids_the_hand():
    mask, hand = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    mask[1:3, 1:3] = True
    hand[:4, 5:] = True  # where left and right change places
    other = mirrored_mask(mask, hand)
    assert other[7:9, 1:3].all()
    assert other.sum() == mask.sum()
    hand[6:, :5] = True  # top and bottom
    assert mirrored_mask(mask, hand)[7:9, 7:9].all()
    central = np.zeros((10, 10), bool)
    central[1:3, 4:6] = True  # its own mirror image at the left and right
    assert mirrored_mask(central, np.zeros_like(hand))[7:9, 4:6].all()
    assert mirrored_mask(mask, ~mask) is None


def effects(predict, film, patients=None):
    image, _ = film
    marked = np.stack([with_marker(np.roll(image, 4 * i, axis=0)) for i in range(6)])
    masks = [background_masks(marked[0])] * 5 + [{}]  # no hand was found on the last
    groups = age_groups(np.full(6, 12.0), Stages())
    sample = Sample(marked, torch.zeros(6), masks, groups, patients)
    return marker_effect(sample, predict).assign(task="age", checkpoint=1, unit="years")


def test_a_model_that_reads_the_marker_is_found_out(film):
    _, place = film
    found = effects(lambda images: images[(slice(None), *place)].mean(axis=(1, 2)) / 10, film)
    value = found[found["group"] == "all"].set_index("source")["value"]
    assert value["model"] > 1
    assert value["elsewhere"] == 0
    assert value["difference"] == value["model"]
    assert set(found["n"]) == {5}


def test_a_model_that_does_not_is_cleared(film):
    found = effects(lambda images: images[:, 100:200, 60:150].mean(axis=(1, 2)), film)
    (sentence,) = background_sentences(found)
    assert "does not rely on the marker holds" in sentence
    assert "by 0 years on average" in sentence


def test_several_radiographs_of_one_patient_clear_no_model(film):
    """They are one draw of a patient, of whom nothing says how much another would differ."""
    one = np.zeros(6, int)
    found = effects(lambda images: images[:, 100:200, 60:150].mean(axis=(1, 2)), film, one)
    (sentence,) = background_sentences(found)
    assert "does not rely on the marker is not clear" in sentence
    assert "in 0 of 1 models, and below in 0" in sentence
    unknown = found.drop(columns="patients").assign(checkpoint=2)  # of another model's table
    (sentence,) = background_sentences(pd.concat([found, unknown]))
    assert "in 0 of 2 models, and below in 1" in sentence


def test_a_model_whose_predictions_do_not_vary_is_not_tested(film):
    found = effects(lambda images: 12 + 0.01 * np.arange(len(images)), film)
    (sentence,) = background_sentences(found)
    deviation = np.abs(np.arange(6) - 2.5)[:5].mean() / 100  # the last has no marker
    assert "marker cannot be tested, as the predictions hardly vary" in sentence
    assert f"(mean absolute deviation {deviation:.2g} years)" in sentence


def test_a_unit_of_a_new_task_has_no_tolerance(film):
    found = effects(lambda images: images[:, 100:200, 60:150].mean(axis=(1, 2)), film)
    (sentence,) = background_sentences(found.assign(unit="units"))
    assert "painting the marker over changes the prediction by 0 units on average" in sentence


def test_without_a_marker_there_is_nothing_to_tell(film):
    image, _ = film
    sample = Sample(image[None], torch.zeros(1), [{}], age_groups(np.array([12.0]), Stages()))
    nothing = marker_effect(sample, lambda _: np.zeros(1))
    assert not len(nothing)


def summary_rows(metric, region, *rows):
    """Rows of source, checkpoint, value and interval (NaN if there is none)."""
    columns = ["source", "checkpoint", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(metric=metric, region=region, group="all", task="age", unit="years", n=30)


def test_shares_of_the_map_by_hand():
    none = (np.nan, np.nan)
    rows = [("model", 1, 0.3, 0.25, 0.35), ("model", 2, 0.2, *none)]
    rows += [("random_weights", k, 0.2 * k, *none) for k in (1, 2)]
    rows += [("blob", k, 0.6, *none) for k in (1, 2)]
    energy = summary_rows("energy", BACKGROUND, *rows)
    area = energy.assign(metric="area", value=0.4)
    (sentence,) = background_sentences(pd.concat([energy, area]))
    assert sentence == (
        "age: 30.0 % (25.0 to 35.0), 20.0 % of the map lies outside the hand, which is 40.0 % of "
        "the image (controls: random weights 30.0 %, blob 60.0 %; n = 30)."
    )


@pytest.mark.parametrize(
    ("limits", "spread", "verdict", "counted"),
    [
        ([(0.01, 0.05), (0.02, 0.06)], (2, 2), "holds", "in 0 of 2 models, and below in 2"),
        ([(0.1, 0.2), (0.09, 0.3)], (2, 2), "does not hold", "in 2 of 2 models, and below in 0"),
        ([(0.1, 0.2), (0.05, 0.3)], (2, 2), "is not clear", "in 1 of 2 models, and below in 0"),
        ([(0.05, 0.2), (0.01, 0.05)], (2, 2), "is not clear", "in 0 of 2 models, and below in 1"),
        ([(0.01, 0.05)] * 2, (0.04, 2), "cannot be tested", "in 0 of 2 models, and below in 2"),
    ],
)
def test_the_claim_on_the_marker_is_of_every_model(limits, spread, verdict, counted):
    """A month, 0.083 years, is little; a model of which all ages are alike tells nothing."""
    rows = [("difference", k, sum(pair) / 2, *pair) for k, pair in enumerate(limits)]
    for source, values in (("model", (0.5, 0.5)), ("elsewhere", (0.4, 0.4)), ("spread", spread)):
        rows += [(source, k, value, np.nan, np.nan) for k, value in enumerate(values)]
    (sentence,) = background_sentences(summary_rows("moved", MARKER, *rows))
    assert f"does not rely on the marker {verdict}" in sentence
    assert sentence.endswith(f"The interval of the difference is above 0.083 {counted}.")
