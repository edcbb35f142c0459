"""Films as readers see them, and where a map lies on them."""

import base64
from collections import Counter
from dataclasses import asdict

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from boneage.data.decode import Geometry, Preprocessing
from boneage.data.hand import Crop, Hand, to_film
from boneage.data.phantom import expose
from boneage.data.radiographs import unused_name
from boneage.evaluation.report.page import films
from boneage.evaluation.run_folder import FinishedRun
from boneage.explain.film import COLOURS, GAP_PIXELS, Film, film_image, overlay, scaled
from boneage.predict.answer import Answer
from boneage.predict.page import PictureNames, card_of, write_pictures
from boneage.predict.radiograph import CORRECTIONS, Radiograph, see
from boneage.stages import Stages


def test_a_card_shows_no_file_outside_its_folder(tmp_path):
    """A continued call reads the names of images from a file, which may be a stranger's."""
    (tmp_path / "out/pictures").mkdir(parents=True)
    for name in ("secret.jpg", "out/pictures/own.jpg"):
        (tmp_path / name).write_bytes(b"content")
    for name, shown in (
        ("pictures/own.jpg", True),
        ("../secret.jpg", False),
        (str(tmp_path / "secret.jpg"), False),
        ("pictures/none.jpg", False),
        ("a\0b", False),
        ("", False),
    ):
        answer = Answer("a.png", "a", "error", picture=name)
        assert (card_of(answer, tmp_path / "out", "a")["image"] is not None) == shown


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [
        (2044, 1514, (480, 356)),
        (2040, 2570, (381, 480)),
        (400, 4800, (40, 480)),
        (64, 48, (480, 360)),
        (5, 3000, (1, 480)),
    ],
)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_film_keeps_its_proportions(height, width, shape, depth):
    image = np.arange(height * width, dtype=np.uint32).reshape(height, width).astype(depth)
    film = to_film(image)
    assert film.shape == shape
    assert film.dtype == np.uint8


def test_a_marker_does_not_dim_the_hand():
    mask = np.zeros((240, 240), bool)
    mask[60:180, 60:180] = True
    rows = np.linspace(1000, 2000, 480)
    image = np.tile(rows[:, None], (1, 480)).astype(np.uint16)  # the hand: 1250 to 1750
    image[:40, :40] = 60_000
    film = to_film(image, Hand(mask, (0.25, 0.25, 0.75, 0.75)))
    assert film[121, 240] < 5
    assert film[240, 240] == pytest.approx(127, abs=3)
    assert film[358, 240] > 250
    assert to_film(image)[240, 240] < 10  # all of it counts where no hand is known


PLACES = {  # by hand: file 2000 x 1000 pixels, crop of its rows 200-1200 and columns 200-700
    "squash, whole": ("squash", Crop(), (20, 70), (410, 705)),
    "squash, crop": ("squash", Crop((0.2, 0.1, 0.7, 0.6)), (20, 70), (405, 552.5)),
    "pad, whole": ("pad", Crop(), (20, 70), (410, 910)),  # 50 columns of it, from the 25th on
    "pad, crop": ("pad", Crop((0.2, 0.1, 0.7, 0.6)), (20, 70), (405, 655)),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_peak_of_the_map_lies_where_it_is_in_the_film(name, sign):
    fit, crop, at, expected = PLACES[name]
    film = Film(
        np.full((480, 240), 100, np.uint8),
        Geometry(2000, 1000, Preprocessing(size=100, fit=fit), crop),
    )
    peak = np.zeros((100, 100), np.float32)
    peak[at] = sign
    drawn = film_image(film, peak).astype(int)
    assert drawn.shape == (480, 240 + GAP_PIXELS + 240, 3)
    plain, mapped = drawn[:, :240], drawn[:, 240 + GAP_PIXELS :]
    assert (plain == 100).all()
    colour = sign * (mapped[..., 0] - mapped[..., 2])  # orange above zero, purple below
    place = np.argwhere(colour == colour.max()).mean(axis=0)
    np.testing.assert_allclose(place + 0.5, np.multiply(expected, 0.24), atol=1.5)
    far = np.hypot(*(np.indices(colour.shape) - place[:, None, None])) > 12
    grey = mapped[far & ~(mapped == 255).all(axis=-1)]
    assert (grey == 100).all()  # the plain film elsewhere


def test_a_coarse_map_lies_as_its_enlargement_does():
    geometry = Geometry(300, 200, Preprocessing(size=64, fit="pad"), Crop((0.1, 0.2, 0.9, 0.8)))
    coarse = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    fine = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_LINEAR)
    film = (480, 320)
    np.testing.assert_allclose(
        geometry.square_to_image(coarse, *film), geometry.square_to_image(fine, *film)
    )


@pytest.mark.parametrize(
    ("crop", "frame"),
    [(Crop(), None), (Crop((0.25, 0.5, 0.75, 1.0)), (slice(240, 480), slice(60, 180)))],
)
def test_a_frame_shows_the_part_that_the_model_sees(crop, frame):
    film = Film(np.zeros((480, 240), np.uint8), Geometry(200, 100, Preprocessing(32), crop))
    mapped = film_image(film, np.zeros((32, 32), np.float32))[:, 240 + GAP_PIXELS :]
    expected = np.zeros((480, 240), np.uint8)
    if frame is not None:
        expected[frame] = 255
        expected[frame[0].start + 1 : frame[0].stop - 1, frame[1].start + 1 : frame[1].stop - 1] = 0
    assert (mapped == expected[..., None]).all()


def test_a_wide_film_has_its_map_below():
    film = Film(np.zeros((100, 480), np.uint8), Geometry(10, 48, Preprocessing(32), Crop()))
    assert film_image(film, np.zeros((8, 8))).shape == (100 + GAP_PIXELS + 100, 480, 3)


def test_a_model_without_maps_gives_the_film_alone(tmp_path):
    radiograph = see(expose(10, "female", 200, np.random.default_rng(0)).image, (STANDARD,), True)
    write_pictures(["pictures/a.jpg"], [radiograph], None, tmp_path)
    drawn = cv2.imread(str(tmp_path / "pictures/a.jpg"))
    assert drawn.shape == (*radiograph.film.pixels.shape, 3)
    np.testing.assert_allclose(drawn[..., 0].astype(float), radiograph.film.pixels, atol=25)


STANDARD = Preprocessing(64, "pad", "stretch", "hand")


def phantom(height, width):
    image = expose(10, "female", 256, np.random.default_rng(0)).image
    return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1])))


@pytest.mark.parametrize("turn", ["turned by 90 degrees", "inverted and turned by 180 degrees"])
def test_the_film_of_a_turned_radiograph_is_that_of_the_usual_one(turn):
    image = phantom(300, 260)
    back = CORRECTIONS[turn]
    lying = back(back(back(image))) if "90" in turn else back(image)
    usual = see(image, (STANDARD,), with_film=True).film
    turned = see(np.ascontiguousarray(back(lying)), (STANDARD,), with_film=True).film
    np.testing.assert_array_equal(turned.pixels, usual.pixels)
    assert turned.geometry == usual.geometry
    assert usual.pixels.shape == (480, 416)


def test_films_are_carried_where_asked_for_only():
    image = phantom(300, 260)
    assert see(image, (STANDARD,), with_film=False).film is None
    film = see(image, (STANDARD, Preprocessing(32)), with_film=True).film
    assert film.geometry.preprocessing == STANDARD  # of the first model, whose map is drawn
    assert film.geometry.crop.mask is None  # small: 10,000 of them are on the way at times
    assert isinstance(see(image, (STANDARD,), with_film=True), Radiograph)


def test_what_the_model_sees_of_the_film_is_its_square():
    """Where the square lies in the film, the film looks as the square does."""
    image = phantom(300, 260)
    plain = Preprocessing(64, "pad", "none", "hand")
    radiograph = see(image, (plain,), with_film=True)
    laid = radiograph.film.geometry.square_to_image(
        radiograph.squares[0].astype(np.float32), 480, 416
    )
    rows, columns = radiograph.film.geometry.seen_in(480, 416)
    film = radiograph.film.pixels[rows, columns]
    assert film.size < 0.95 * 480 * 416
    assert np.corrcoef(laid[rows, columns].ravel(), film.ravel())[0, 1] > 0.95


def test_pictures_are_small(tmp_path):
    """A page of 200 cards has to open."""
    radiograph = see(expose(10, "female", 1024, np.random.default_rng(0)).image, (STANDARD,), True)
    maps = np.random.default_rng(0).normal(size=(1, 4, 4))
    write_pictures(["pictures/a.jpg"], [radiograph], maps, tmp_path)
    assert cv2.imread(str(tmp_path / "pictures/a.jpg")).shape[0] == 480
    assert (
        tmp_path / "pictures/a.jpg"
    ).stat().st_size < 90_000  # phantoms are noisier than radiographs


def test_the_colours_are_those_of_colorbrewer():
    expected = mpl.colormaps["PuOr_r"](np.linspace(0, 1, 256))[:, :3] * 255
    np.testing.assert_allclose(COLOURS, expected, atol=1e-6)


def test_zero_is_see_through_and_the_strongest_value_is_not_opaque():
    film = np.array([[0, 100, 255]], np.uint8)
    assert (overlay(film, np.zeros((1, 3))) == film[..., None]).all()
    strongest = overlay(film, np.ones((1, 3)))[0]
    np.testing.assert_allclose(strongest, 0.2 * film[0][:, None] + 0.8 * COLOURS[-1], atol=0.5)


def test_a_map_that_is_not_finite_is_no_map():
    maps = np.stack([np.full((2, 2), np.nan), np.array([[1.0, -4.0], [0.0, np.inf]])])
    np.testing.assert_array_equal(scaled(maps), [[[0, 0], [0, 0]], [[0.25, -1], [0, 0]]])


@pytest.fixture
def finished(tmp_path):
    """What the page of a run needs of it: one case, and where its file is."""
    image = phantom(300, 260)
    preprocessing = Preprocessing(64, "squash", "stretch", "hand")
    square = see(image, (preprocessing,), with_film=False).squares[0]
    (tmp_path / "films").mkdir()
    cv2.imwrite(str(tmp_path / "films/7.png"), image)
    np.savez(tmp_path / "images.npz", ids=np.array(["7"]), cases=square[None])
    options = {f"data.{name}": value for name, value in asdict(preprocessing).items()}
    options["data.root"] = str(tmp_path / "films")
    return FinishedRun(tmp_path, {"options": options}, pd.DataFrame(), Stages())


def shape_of(uri):
    content = np.frombuffer(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE).shape


def test_a_case_is_shown_as_its_film(finished, caplog):
    (finished.path / "films/.8.png").write_bytes((finished.path / "films/7.png").read_bytes())
    assert {id_: shape_of(uri) for id_, uri in films(finished).items()} == {"7": (480, 416)}
    assert not caplog.text  # the run has said already what it passed over


@pytest.mark.parametrize("what", ["gone", "another", "damaged", "no root"])
def test_a_case_whose_film_is_not_at_hand_is_shown_as_stored(finished, what):
    file = finished.path / "films/7.png"
    if what == "another":
        other = expose(3, "male", 300, np.random.default_rng(5)).image
        cv2.imwrite(str(file), other)
    elif what == "damaged":
        file.write_bytes(b"no image")
    elif what == "gone":
        file.unlink()
    else:
        del finished.metrics["options"]["data.root"]
    assert {id_: shape_of(uri) for id_, uri in films(finished).items()} == {"7": (64, 64)}


def test_names_differ_on_disks_that_ignore_letter_case():
    names = PictureNames(["pictures/Hand.jpg"])
    given = [names.new(id_) for id_ in ("hand", "HAND", "other")]
    assert len({name.casefold() for name in [*given, "pictures/Hand.jpg"]}) == 4


def test_many_radiographs_of_one_id_get_the_first_number_that_is_left():
    taken = {"pictures/1.jpg", "pictures/1_3.jpg"}
    names = PictureNames(taken)
    for id_ in ["1"] * 5 + ["1_2", "1_6", "1_6"] + ["1"] * 4:
        plain = [f"pictures/{id_}{end}.jpg" for end in ["", *(f"_{k}" for k in range(2, 30))]]
        expected = next(name for name in plain if name not in taken)
        assert names.new(id_) == expected
        taken.add(expected)


def test_names_fit_into_a_file_system():
    taken = Counter()
    names = [unused_name("患" * 100, "_age.npy", taken) for _ in range(3)]
    assert len(set(names)) == 3
    assert all(
        len(name.encode()) + len(".part") <= 255 and name[-8:] == "_age.npy" for name in names
    )
    assert unused_name("a" * 200, ".npy", taken) == "a" * 200 + ".npy"
