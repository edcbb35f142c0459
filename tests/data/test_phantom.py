"""The phantom: it ossifies as children do, its masks are exact, and it is written whole."""

import errno
import json

import cv2
import numpy as np
import pandas as pd
import pytest

from boneage.data.layouts import read_source
from boneage.data.phantom import expose, write_phantom
from boneage.data.phantom import write as write_module
from boneage.data.phantom.hand import draw_hand
from boneage.data.phantom.ossification import APPEARANCE_YEARS, Maturity
from boneage.data.phantom.write import RSNA_NAME, draw_population
from boneage.errors import UserError

TABLE = "boneage-training-dataset.csv"


def typical(age, sex):
    return draw_hand(Maturity(age, sex), np.random.default_rng(0))


def count(age, sex, tissue):
    return sum(shape.tissue == tissue for shape in typical(age, sex))


@pytest.mark.parametrize(
    ("sex", "age", "carpals"),
    [  # Garn, Rohmann and Silverman 1967: medians, years-months
        ("male", 0.1, 0),
        ("male", 0.5, 2),  # capitate 0-3, hamate 0-4
        ("male", 3.0, 3),  # triquetrum 2-5
        ("male", 5.0, 4),  # lunate 4-1
        ("male", 7.0, 7),  # scaphoid, trapezium, trapezoid by 6-3
        ("male", 12.0, 8),  # pisiform
        ("female", 0.5, 2),
        ("female", 3.0, 4),
        ("female", 5.0, 7),
        ("female", 10.0, 8),
    ],
)
def test_carpals_appear_at_their_ages(sex, age, carpals):
    assert count(age, sex, "carpal") == carpals


@pytest.mark.parametrize(
    ("sex", "age", "epiphyses"),
    [("male", 0.5, 0), ("female", 0.5, 0), ("male", 1.2, 1), ("male", 8.0, 21)],
)
def test_epiphyses_appear_at_their_ages(sex, age, epiphyses):
    assert count(age, sex, "epiphysis") == epiphyses  # 19 rays' bones, radius and ulna at last


@pytest.mark.parametrize("bone", APPEARANCE_YEARS)
def test_girls_are_ahead_of_boys(bone):
    girl, boy = APPEARANCE_YEARS[bone]
    assert girl <= boy


def test_fusion_runs_from_the_finger_tips_to_the_radius():
    boy = Maturity(16.0, "male")
    bridged = [boy.epiphysis(b)[1] for b in ("distal 3", "middle 3", "ulna", "radius")]
    assert bridged == sorted(bridged, reverse=True)
    assert bridged[0] > 0.5 > bridged[1] > 0
    assert bridged[-1] == 0


def difference(one, other, sex):
    first, second = typical(one, sex), typical(other, sex)
    if len(first) != len(second):
        return np.inf
    return max(
        np.abs(a.outline - b.outline).max() + abs(a.density - b.density)
        for a, b in zip(first, second, strict=True)
    )


def test_nothing_changes_once_everything_has_fused():
    assert difference(17.3, 19.0, "female") == 0
    assert difference(18.8, 19.0, "male") == 0
    assert difference(15.5, 16.5, "female") > 0
    assert difference(17.5, 18.5, "male") > 0


def test_hands_grow():
    heights = [np.ptp(typical(age, "male")[-1].outline[:, 1]) for age in (1, 6, 12, 17)]
    assert heights == sorted(heights)
    assert heights[-1] > 1.7 * heights[0]
    adults = [Maturity(18, sex).growth for sex in ("male", "female")]
    assert adults == pytest.approx([1, 17.2 / 18.9])  # of a man's hand


def test_carpals_of_girls_are_full_grown_before_those_of_boys():
    for sex, years in (("female", 12.5), ("male", 14.5)):
        assert Maturity(years, sex).carpal_size("capitate") == 1
        assert Maturity(years - 0.1, sex).carpal_size("capitate") < 1


@pytest.mark.parametrize(("sex", "age", "carpals"), [("male", 3.2, 3), ("female", 0.8, 2)])
def test_masks_show_what_is_there(sex, age, carpals):
    drawn = expose(age, sex, 256, np.random.default_rng(1))
    parts, _ = cv2.connectedComponents(drawn.masks["carpals"].astype(np.uint8))
    assert parts - 1 == carpals
    assert {mask.shape for mask in drawn.masks.values()} == {drawn.image.shape}
    for bones in ("carpals", "epiphyses"):
        assert not (drawn.masks[bones] & ~drawn.masks["soft_tissue"]).any()


def test_masks_lie_where_the_pixels_are():
    shares = []
    for seed in range(8):
        drawn = expose(7, "female", 256, np.random.default_rng(seed))
        image, carpals = drawn.image.astype(float), drawn.masks["carpals"]
        wider = cv2.dilate(carpals.astype(np.uint8), np.ones((9, 9))).astype(bool)
        near = wider & ~carpals & drawn.masks["soft_tissue"] & ~drawn.masks["epiphyses"]
        shares.append(image[carpals].mean() > image[near].mean())
        hand = drawn.masks["soft_tissue"]
        shares.append(np.median(image[hand]) > np.median(image[~hand]))
    assert all(shares)


def test_brightness_alone_does_not_tell_the_age():
    ages = np.random.default_rng(0).uniform(2, 18, 120)
    means = [
        expose(a, "male", 64, np.random.default_rng(i)).image.mean() for i, a in enumerate(ages)
    ]
    assert abs(np.corrcoef(ages, means)[0, 1]) < 0.5


def test_population_is_like_rsnas():
    table = draw_population(12_611, np.random.default_rng(0))
    months, male = table["boneage"], table["male"]
    assert months.mean() == pytest.approx(127.3, abs=1)
    assert months.std() == pytest.approx(41.2, abs=1.5)
    assert (months.min(), months.max()) == (1, 228)
    assert male.mean() == pytest.approx(6833 / 12611, abs=0.015)
    assert months[male].mean() == pytest.approx(135.3, abs=2.5)
    assert months[~male].mean() == pytest.approx(117.9, abs=2.5)
    assert (months < 120).mean() == pytest.approx(0.34, abs=0.01)
    assert 60 <= (months >= 216).sum() <= 110
    assert male[months > 216].all()


def test_written_as_rsna_lays_it_out(phantom_root):
    table = read_source(phantom_root)
    assert len(table) == 24
    assert set(table["sex"]) == {"male", "female"}
    for id_, path in zip(table["id"], table["path"], strict=True):
        image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        assert (image.dtype, image.ndim, image.shape[0]) == (np.uint8, 2, 64)
        with np.load(phantom_root / f"masks/{id_}.npz") as masks:
            assert set(masks) == {"carpals", "epiphyses", "soft_tissue"}
            assert {(masks[m].dtype.name, masks[m].shape) for m in masks} == {("bool", image.shape)}


def test_a_radiograph_shows_the_age_and_the_sex_of_its_row(phantom_root):
    table = pd.read_csv(phantom_root / TABLE)
    for row in (0, 7, 23):
        id_, months, male = table.loc[row, ["id", "boneage", "male"]]
        rng = np.random.default_rng([0, write_module.FIRST_DRAWING + row])
        drawn = expose(months / 12, "male" if male else "female", 64, rng).image
        written = cv2.imread(str(phantom_root / RSNA_NAME / f"{id_}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(written, drawn)


def snapshot(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*.png")}


def test_same_arguments_same_radiographs(phantom_root, tmp_path):
    again = write_phantom(tmp_path / "again", n=24, size=64, seed=0)
    other = write_phantom(tmp_path / "other", n=24, size=64, seed=1)
    assert snapshot(again) == snapshot(phantom_root)
    assert snapshot(other) != snapshot(phantom_root)
    assert not pd.read_csv(again / TABLE).equals(pd.read_csv(other / TABLE))


def test_written_once(tmp_path, monkeypatch):
    root = write_phantom(tmp_path / "phantom", n=2, size=32)
    monkeypatch.setattr(write_module, "expose", None)
    assert write_phantom(tmp_path / "phantom", n=2, size=32) == root
    with pytest.raises(UserError, match="contains another phantom"):
        write_phantom(tmp_path / "phantom", n=3, size=32)


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    drawn = iter(range(2))
    with monkeypatch.context() as patch:
        patch.setattr(write_module, "expose", lambda *_: next(drawn).nothing)
        with pytest.raises(AttributeError):
            write_phantom(tmp_path / "phantom", n=4, size=32)
    assert list(tmp_path.iterdir()) == []
    assert len(read_source(write_phantom(tmp_path / "phantom", n=4, size=32))) == 4


def test_it_never_writes_over_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="something else"):
        write_phantom(tmp_path, n=2, size=32)
    with pytest.raises(UserError, match="something else"):
        write_phantom(tmp_path / "thesis.txt", n=2, size=32)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(("n", "size", "seed"), [(0, 64, 0), (2, 8, 0), (2, 5000, 0), (2, 64, -1)])
def test_bad_arguments(tmp_path, n, size, seed):
    with pytest.raises(UserError, match=f"n={n}.*size={size}.*seed={seed}"):
        write_phantom(tmp_path / "phantom", n=n, size=size, seed=seed)


def test_it_says_what_it_is(phantom_root):
    assert json.loads((phantom_root / "phantom.json").read_text())["n"] == 24


def test_a_phantom_of_another_user_is_only_read(tmp_path, monkeypatch):
    def forbidden(folder):
        raise PermissionError(errno.EACCES, "Permission denied", f"{folder}/build.lock")

    root = write_phantom(tmp_path / "a", n=1, size=64)
    monkeypatch.setattr(write_module, "build_lock", forbidden)
    assert write_phantom(root, n=1, size=64) == root
    with pytest.raises(UserError, match=r"build\.lock cannot be written .* set BONEAGE_CACHE=$"):
        write_phantom(tmp_path / "b", n=1, size=64)


@pytest.mark.parametrize("content", ["", "[]", "\xff"])
def test_a_foreign_description_is_something_else(tmp_path, content):
    (tmp_path / "phantom.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match="contains something else"):
        write_phantom(tmp_path, n=2)
    assert [file.name for file in tmp_path.iterdir()] == ["phantom.json"]
