"""A radiograph with a map over it, by hand."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from boneage.data.decode import Geometry, Preprocessing
from boneage.data.hand import Crop
from boneage.explain.cases import write_cases
from boneage.explain.film import Film, film_image, overlay, square_film, with_map

ORANGE, PURPLE = (127, 59, 8), (45, 0, 75)  # the ends of ColorBrewer's PuOr
PALE_PURPLE = (153, 143, 191)  # halfway to its middle


def test_what_raises_the_prediction_is_orange_and_what_lowers_it_purple():
    film = np.full((1, 3), 100, np.uint8)
    raised, lowered, neither = overlay(film, np.array([[1.0, -1.0, 0.0]]))[0]
    assert raised.tolist() == [round(0.2 * 100 + 0.8 * colour) for colour in ORANGE]
    assert lowered.tolist() == [round(0.2 * 100 + 0.8 * colour) for colour in PURPLE]
    assert neither.tolist() == [100] * 3


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_strongest_value_of_a_map_has_the_strongest_colour(size):
    map_ = np.zeros((8, 8))
    map_[:, :4], map_[:, 4:] = size, -size / 2
    drawn = film_image(square_film(np.full((8, 8), 100, np.uint8)), map_)
    assert drawn.shape == (8, 8 + 8 + 8, 3)  # the film, a gap, and the film with the map
    assert (drawn[:, :8] == 100).all()
    assert (drawn[:, 8:16] == 255).all()
    raised, lowered = drawn[4, 16], drawn[4, 23]
    assert raised.tolist() == [round(0.2 * 100 + 0.8 * colour) for colour in ORANGE]
    expected = [0.6 * 100 + 0.4 * colour for colour in PALE_PURPLE]  # half the opacity, too
    assert lowered.tolist() == pytest.approx(expected, abs=1)


def test_a_map_is_scaled_by_its_strongest_value_on_the_film_not_beside_it():
    film = Film(
        np.full((40, 20), 100, np.uint8), Geometry(40, 20, Preprocessing(16, "pad"), Crop())
    )
    map_ = np.ones((16, 16))
    map_[:, :4] = map_[:, 12:] = 10  # the padding
    raised = [round(0.2 * 100 + 0.8 * colour) for colour in ORANGE]
    assert np.unique(with_map(film, map_).reshape(-1, 3), axis=0).tolist() == [raised]


def test_a_map_of_a_part_of_the_film_lies_on_that_part_in_a_frame():
    crop = Crop((0.4, 0.1, 0.6, 0.9))  # columns 40-60 and rows 20-180: half as large in the square
    film = Film(
        np.full((200, 100), 100, np.uint8), Geometry(200, 100, Preprocessing(80, "pad"), crop)
    )
    map_ = np.zeros((80, 80))
    map_[40:60] = 1.0  # rows 100-140 of the film
    drawn = with_map(film, map_)
    raised = [round(0.2 * 100 + 0.8 * colour) for colour in ORANGE]
    assert (drawn[103:137, 41:59] == raised).all()
    frame = np.zeros((200, 100), bool)
    frame[20:180, 40:60] = True
    frame[21:179, 41:59] = False
    assert ((drawn == 255).all(axis=2) == frame).all()
    drawn[frame] = drawn[97:143, 41:59] = 100
    assert (drawn == 100).all()


def test_each_case_is_written_with_its_own_map(tmp_path):
    films = [square_film(np.full((32, 32), grey, np.uint8)) for grey in (60, 200)]
    maps = np.stack([np.ones((32, 32)), -np.ones((32, 32))])
    rows = pd.DataFrame({"id": ["a", "b"], "sex": "male", "age_years": [5.0, 7.0]}, index=[9, 3])
    write_cases(tmp_path / "cases", films, maps, rows)
    table = pd.read_csv(tmp_path / "cases/cases.csv").to_dict("records")
    assert table == [
        {"picture": "01.jpg", "id": "a", "caption": "a, male, 5.0 y"},
        {"picture": "02.jpg", "id": "b", "caption": "b, male, 7.0 y"},
    ]
    for row, grey, end in zip(table, (60, 200), (ORANGE, PURPLE), strict=True):
        drawn = np.asarray(Image.open(tmp_path / "cases" / row["picture"]), float)
        assert drawn[4:28, 4:28].mean(axis=(0, 1)) == pytest.approx([grey] * 3, abs=3)
        expected = [0.2 * grey + 0.8 * colour for colour in end]
        assert drawn[4:28, 44:68].mean(axis=(0, 1)) == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(("width", "shape"), [(70, (60, 148)), (73, (128, 73))])
def test_a_wide_film_is_above_its_map(width, shape):
    film = square_film(np.zeros((8, 8), np.uint8))
    wide = type(film)(np.zeros((60, width), np.uint8), film.geometry)
    assert film_image(wide, np.zeros((8, 8))).shape == (*shape, 3)
    assert film_image(wide, None).shape == (60, width, 3)
