"""Maps of radiograph files, their geometry, and how much of them lies in a region."""

import re
import shutil
from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import IntegratedGradients
from dicom_files import written
from helpers import reference_study
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.data.decode import Geometry, Preprocessing
from boneage.data.hand import Crop, resized_mask, sides_at
from boneage.errors import UserError
from boneage.evaluation.reference import Claim, Reference
from boneage.explain.attention import measure_model
from boneage.explain.claim import sentences
from boneage.explain.localisation import Sample, age_groups, blob, edges, measure, summarise
from boneage.explain.methods import Method, Score, attribute, maps_of
from boneage.explain.regions import _with_background, read_boxes, read_regions, region_masks
from boneage.explain.sanity import with_random_weights
from boneage.run.checkpoint import build_model, read_checkpoint
from boneage.run.checkpoint_file import checkpoint_file
from boneage.run.explain import Explained, explain
from boneage.stages import ALL, Stages

BOX = {"id": "a", "region": "MCP", "xmin": 10, "ymin": 20, "xmax": 30, "ymax": 60}
FRAME = {"image_width": 100, "image_height": 200}


class LooksAtACorner(nn.Module):
    """A backbone whose one feature is the brightness of the top left quarter."""

    channels, out_features = 1, 1

    def __init__(self, side):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        self.conv.weight.data.fill_(1.0)
        window = torch.zeros(side, side)
        window[: side // 2, : side // 2] = 1
        self.register_buffer("window", window)

    @property
    def cam_layer(self):
        return self.conv

    def forward(self, x):
        return (self.conv(x) * self.window).mean(dim=(2, 3))


@pytest.fixture
def corner(configure):
    """A model that can only look at one corner, and random radiographs of 32 pixels."""
    model = build_model(configure("tasks.age.hidden=[]", "tasks.age.dropout=[]"), record={})
    model.backbone = LooksAtACorner(32)
    model.tasks["age"].head = nn.Linear(1, 1)
    model.tasks["age"].head.weight.data.fill_(1.0)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(50, 256, (4, 1, 32, 32), generator=generator, dtype=torch.uint8)
    return model, image, torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize("method", [m for m in get_args(Method) if m != "gradcam"])
def test_a_network_that_sees_one_corner_has_its_map_there(corner, method):
    maps = attribute(*corner, "age", method).numpy()
    assert maps.shape == (4, 32, 32)
    seen, unseen = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
    seen[:16, :16], unseen[20:, 20:] = True, True
    measured = measure(maps, [{"seen": seen, "unseen": unseen}] * 4).set_index("region")
    assert (measured.loc["seen", "energy"] > 0.85).all()
    assert (measured.loc["unseen", "energy"] < 0.01).all()
    assert (measured.loc["seen", "hit"] == 1).all()


def test_integrated_gradients_add_up_to_the_change_of_the_prediction(corner):
    model, image, sex = corner
    maps = attribute(model, image, sex, "age", "integrated_gradients")
    score = Score(model, "age")
    x = model.to_input(image)
    change = score(x, sex) - score(torch.zeros_like(x), sex)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), change.detach(), rtol=1e-3, atol=1e-4)
    direct = IntegratedGradients(score).attribute(x, additional_forward_args=(sex,), n_steps=32)
    torch.testing.assert_close(maps, direct.sum(dim=1).detach().float())


@pytest.mark.parametrize("method", get_args(Method))
def test_maps_are_of_one_stage_however_near_another_one_is(configure, corner, method):
    """A constant added to the score of a stage changes no map, as long as it stays the largest."""
    _, image, sex = corner
    linear = ("tasks.stage.hidden=[]", "tasks.stage.dropout=[]")
    model = build_model(configure("task=classification", *linear), record={})
    model.backbone = LooksAtACorner(32)
    head = model.tasks["stage"].head = nn.Linear(1, 3)
    head.weight.data = torch.tensor([[-4.0], [0.0], [4.0]])
    brightness = image[0, 0, :16, :16].sum() / 255 / 32**2
    maps = []
    for lead in (1e-4, 100.0):  # of the last stage; without a lead, black would be the first one
        head.bias.data = torch.tensor([0.0, -100.0, lead - 8 * float(brightness)])
        assert model(image[:1], sex[:1])["stage"].argmax() == 2
        maps.append(attribute(model, image[:1], sex[:1], "stage", method))
    torch.testing.assert_close(*maps, rtol=1e-3, atol=1e-5)
    if method == "integrated_gradients":
        torch.testing.assert_close(maps[0].sum(), 4 * brightness, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("fit", ["squash", "pad"])
@pytest.mark.parametrize("crop", [Crop(), Crop((0.2, 0.3, 0.7, 0.9))])
@pytest.mark.parametrize(("height", "width"), [(2044, 1514), (100, 300), (64, 64)])
def test_a_box_comes_back_within_a_pixel(fit, crop, height, width):
    geometry = Geometry(height, width, Preprocessing(size=128, fit=fit), crop)
    box = np.array([[0.25 * width, 0.5 * height, 0.5 * width, 0.75 * height]])
    xmin, ymin, xmax, ymax = geometry.boxes_to_square(box)[0].round().astype(int)
    square = np.zeros((128, 128), np.float32)
    square[ymin:ymax, xmin:xmax] = 1
    back = geometry.square_to_image(square, geometry.height, geometry.width)
    assert back.shape == (height, width)
    rows, columns = np.flatnonzero(back.max(axis=1) > 0.5), np.flatnonzero(back.max(axis=0) > 0.5)
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    pixel = max(height, width) / 128  # one of the square
    assert np.abs(found - box[0]).max() <= max(1, pixel)


@pytest.mark.parametrize("fit", ["squash", "pad"])
@pytest.mark.parametrize(("height", "width"), [(2216, 1810), (883, 1574), (1651, 754)])
def test_a_reduced_mask_lies_where_the_whole_one_does(fit, height, width):
    """As the masks of the hand finder, whose pixels are coarser than those of the crop."""
    geometry = Geometry(
        height, width, Preprocessing(size=512, fit=fit), Crop((0.23, 0.31, 0.77, 0.89))
    )
    rows, columns = np.ogrid[:height, :width]
    inside = ((rows / height - 0.6) / 0.35) ** 2 + ((columns / width - 0.5) / 0.3) ** 2 < 1
    reduced_height, reduced_width = sides_at(256, height, width)
    reduced = resized_mask(inside, reduced_height, reduced_width)
    exact, coarse = geometry.mask_to_square(inside), geometry.mask_to_square(reduced)
    assert (exact ^ coarse).sum() <= 0.015 * exact.sum()
    shown = geometry.mask_to_square(np.ones((height, width), bool))
    assert (geometry.mask_to_square(np.ones_like(reduced)) == shown).all()


def test_a_pixel_of_the_square_is_in_a_mask_if_more_than_half_of_it_is():
    of_four = ["1111", "1110", "1100", "0100"]  # the four pixels of the file under one of it
    full, most, half, little = (np.array([*map(int, one)]).reshape(2, 2) for one in of_four)
    mask = np.tile(np.block([[full, most], [half, little]]), (4, 4)).astype(bool)
    geometry = Geometry(16, 16, Preprocessing(size=8, fit="squash", crop="none"), Crop())
    expected = np.tile([[True, True], [False, False]], (4, 4))
    np.testing.assert_array_equal(geometry.mask_to_square(mask), expected)


def write(path, *rows):
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_region_masks_by_hand(tmp_path):
    second = {"xmin": 90.4, "xmax": 130, "ymin": 21, "ymax": 59}  # beyond the right border: cut
    second = BOX | second  # with parts of pixels
    table = read_boxes(write(tmp_path / "b.csv", BOX | FRAME, second | FRAME))
    geometry = Geometry(1, 1, Preprocessing(size=100, fit="squash"), Crop())
    ((region, mask),) = region_masks(table, geometry).items()
    assert region == "MCP"
    expected = np.zeros((100, 100), bool)
    expected[10:30, 10:30] = expected[10:30, 90:100] = True  # the height is halved
    assert (mask == expected).all()
    lower_left = Crop((0.0, 0.1, 0.5, 0.5))  # of a frame of 100 x 200: pixels 0-50 and 20-100
    ((_, mask),) = region_masks(table, replace(geometry, crop=lower_left)).items()
    expected = np.zeros((100, 100), bool)
    expected[0:50, 20:60] = True
    assert (mask == expected).all()


def test_each_box_is_in_the_frame_of_its_own_row(tmp_path):
    """One annotator drew on the radiograph, another on a copy of twice its size."""
    here = BOX | FRAME
    twice = {name: 2 * v if isinstance(v, int) else v for name, v in here.items()}
    elsewhere = here | {"xmin": 60, "xmax": 80}
    geometry = Geometry(1, 1, Preprocessing(size=100, fit="squash"), Crop())
    expected = np.zeros((100, 100), bool)
    expected[10:30, 10:30] = expected[10:30, 60:80] = True  # the height is halved
    for rows in ((twice, elsewhere), (elsewhere, twice)):
        table = read_boxes(write(tmp_path / "b.csv", *rows))
        ((_, mask),) = region_masks(table, geometry).items()
        assert (mask == expected).all()
    other = read_boxes(write(tmp_path / "b.csv", elsewhere, twice | {"region": "Wrist"}))
    masks = region_masks(other, geometry)
    assert (masks["MCP"] | masks["Wrist"] == expected).all()


def test_regions_do_not_reach_into_the_padding(tmp_path):
    """Boxes next to the crop would lie there; the masks of a phantom are the independent truth."""
    image = np.full((200, 100), 9, np.uint8)
    crop = Crop((0.4, 0.1, 0.6, 0.9))  # columns 40-60 and rows 20-180: padded at both sides
    geometry = Geometry(200, 100, Preprocessing(size=80, fit="pad"), crop)
    corners = ((10, 40, 56, 90), (20, 100, 38, 120), (58, 0, 100, 200))
    for number, (xmin, ymin, xmax, ymax) in enumerate(corners):
        box = {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax}
        file = write(tmp_path / f"{number}.csv", BOX | box | FRAME)
        drawn = np.zeros(image.shape, bool)
        drawn[ymin:ymax, xmin:xmax] = True
        ((_, mask),) = region_masks(read_boxes(file), geometry).items()
        assert (mask == geometry.mask_to_square(drawn)).all()
    regions = {"soft_tissue": geometry.mask_to_square(drawn)}
    outside = _with_background(regions, image, geometry)["background"]
    assert (outside == geometry.mask_to_square(~drawn)).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"xmin": 30}, "row 3: the box is empty"),
        ({"ymin": "x"}, "row 3: the box is empty, not a number"),
        ({"image_width": "inf"}, "row 3: the box is empty, not a number"),
        ({"xmin": 100, "xmax": 120}, "row 3.*outside its image"),
        ({"xmin": -5, "xmax": 0}, "row 3.*outside its image"),
        ({"ymin": -5, "ymax": 0}, "row 3.*outside its image"),
        ({"xmin": -5, "image_width": 0}, "row 3.*outside its image"),
    ],
)
def test_bad_boxes_name_their_row(tmp_path, change, said):
    path = write(tmp_path / "b.csv", BOX | FRAME, BOX | FRAME | change)
    with pytest.raises(UserError, match=said):
        read_boxes(path)


def test_region_and_annotator_are_checked(tmp_path):
    for name in ("", "hand", "marker"):
        path = write(tmp_path / "b.csv", BOX | FRAME, BOX | FRAME | {"region": name})
        with pytest.raises(UserError, match=r"row 3: the region '.*' is empty or a reserved name"):
            read_boxes(path)
    path = write(tmp_path / "b.csv", BOX | FRAME | {"annotator": "expert"})
    with pytest.raises(UserError, match="has no annotator nobody: it has expert"):
        read_boxes(path, "nobody")
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line},{line.rpartition(',')[2]}\n" for line in lines))
    with pytest.raises(UserError, match="several columns called 'annotator'"):
        read_boxes(path, "expert")
    with pytest.raises(UserError, match="has no column annotator: choose none"):
        read_boxes(write(tmp_path / "b.csv", BOX | FRAME), "expert")


def test_bad_tables_of_boxes(tmp_path):
    with pytest.raises(UserError, match="no such table"):
        read_boxes(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match="lacks the column image_width, image_height"):
        read_boxes(write(tmp_path / "b.csv", BOX))


def test_a_table_without_boxes_has_no_regions(tmp_path):
    (tmp_path / "b.csv").write_text(",".join((BOX | FRAME).keys()) + "\n")
    assert read_regions(tmp_path / "b.csv", {"1": tmp_path / "1.png"}, Preprocessing()) == {}


def test_boxes_and_masks_may_write_ids_otherwise(tmp_path):
    film = tmp_path / "01378.png"
    Image.fromarray(np.full((200, 100), 90, np.uint8)).save(film)
    boxes = write(tmp_path / "boxes.csv", BOX | FRAME | {"id": "1378.png"})
    boxes.write_text(boxes.read_text().replace(",", ";"))
    (tmp_path / "masks").mkdir()
    np.savez(tmp_path / "masks/1378.npz", MCP=np.ones((200, 100), bool))
    for regions in (boxes, tmp_path / "masks"):
        (id_,) = read_regions(regions, {"01378": film, "2": film}, Preprocessing(size=100))
        assert id_ == "01378"


def test_one_annotator(tmp_path):
    rows = [BOX | FRAME | {"annotator": name} for name in ("expert", "nonexpert", "expert")]
    assert len(read_boxes(write(tmp_path / "b.csv", *rows), "expert")) == 2


def test_measure_by_hand():
    whole = np.array([[[4.0, 1.0], [-9.0, 0.0]]])
    mask = np.array([[True, False], [True, False]])
    (row,) = measure(whole, [{"left": mask}]).to_dict("records")
    assert (row["energy"], row["area"], row["hit"]) == (0.8, 0.5, 1)
    assert np.isnan(row["energy_in_hand"])  # no hand was given
    (nothing,) = measure(-whole.clip(min=0), [{"left": mask}]).to_dict("records")
    assert np.isnan(nothing["energy"])


@pytest.mark.parametrize(("column", "hit"), [(9, 0), (10, 1), (21, 1), (22, 0)])
def test_a_maximum_within_a_32nd_of_the_side_is_a_hit(column, hit):
    mask = np.zeros((64, 64), bool)
    mask[20:30, 12:20] = True
    maps = np.zeros((1, 64, 64))
    maps[0, 25, column] = 1
    assert measure(maps, [{"box": mask}])["hit"].tolist() == [hit]


def test_measure_within_the_hand_by_hand():
    whole = np.array([[[4.0, 1.0, 5.0], [3.0, 0.0, 7.0]]])
    hand = np.array([[True, True, False], [True, True, False]])
    top = np.array([[True, True, True], [False, False, False]])
    rows = measure(whole, [{"hand": hand, "top": top, "background": ~hand}]).set_index("region")
    assert rows.loc["top", "energy_in_hand"] == 5 / 8
    assert rows.loc["top", "area_in_hand"] == 1 / 2
    assert rows.loc[["hand", "background"], "energy_in_hand"].isna().all()  # says nothing
    assert rows.loc["background", "energy"] == 12 / 20
    summary = summarise(
        rows.reset_index().assign(source="model"), age_groups(np.array([8.0]), Stages())
    )
    found = summary[(summary["group"] == "all") & (summary["region"] == "top")]
    assert found.set_index("metric")["value"]["enrichment_in_hand"] == pytest.approx(1.25)


def test_radiographs_without_a_hand_do_not_count_in_the_hand():
    mask = np.zeros((8, 8), bool)
    mask[:4, :4] = True
    hand = np.zeros((8, 8), bool)
    hand[:4] = True
    maps = np.zeros((3, 8, 8), np.float32)
    maps[:, :2] = 1  # half of what is on the hand is in the region, which is half of the hand
    masks = [{"top": mask, "hand": hand}, {"top": mask}, {"top": mask, "hand": hand}]
    measured = measure(maps, masks).assign(source="model")
    summary = summarise(measured, age_groups(np.array([8.0, 8.0, np.nan]), Stages()))
    assert {*summary["group"]} == {"all", "child", "5-10"}  # an unknown age is in no other group
    rows = summary[(summary["group"] == "all") & (summary["region"] == "top")].set_index("metric")
    assert rows.loc["enrichment_in_hand", "value"] == pytest.approx(1)
    assert rows["n"][["enrichment", "pointing", "enrichment_in_hand"]].tolist() == [3, 3, 2]


def test_each_group_counts_its_own_patients():
    top = np.arange(64).reshape(8, 8) < 32
    measured = measure(np.ones((4, 8, 8)), [{"top": top}] * 4).assign(source="model")
    ages, patients = np.array([8.0, 8.0, 18.5, 18.5]), np.array([0, 0, 1, 2])
    summary = summarise(measured, age_groups(ages, Stages()), patients)
    counted = summary[summary["metric"] == "energy"].set_index("group")["patients"]
    assert counted[["all", "child", "adult"]].tolist() == [3, 1, 2]


@pytest.mark.filterwarnings("error")
def test_a_region_outside_the_crop_has_no_enrichment():
    outside, inside = np.zeros((16, 16), bool), np.eye(16, dtype=bool)
    masks = [{"always": inside, "never": outside, "once": inside}] + [
        {"always": inside, "never": outside, "once": outside}
    ] * 4
    maps = np.ones((5, 16, 16))
    summary = summarise(
        measure(maps, masks).assign(source="model"), age_groups(np.full(5, 8.0), Stages())
    )
    rows = summary[(summary["metric"] == "enrichment") & (summary["group"] == "all")]
    assert dict(zip(rows["region"], rows["value"], strict=True)) == {"always": 1, "once": 1}


def test_controls_are_at_chance_on_random_boxes():
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(400):
        mask = np.zeros((64, 64), bool)
        top, left = rng.integers(0, 64, 2)
        mask[np.ix_(np.arange(top, top + 12) % 64, np.arange(left, left + 12) % 64)] = True
        masks.append({"anywhere": mask})
    images = rng.integers(0, 256, (400, 64, 64), dtype=np.uint8)
    for maps in (np.broadcast_to(blob(64), images.shape), edges(images)):
        measured = measure(maps, masks).assign(source="control")
        summary = summarise(measured, age_groups(np.full(400, 8.0), Stages()))
        row = summary[(summary["metric"] == "enrichment") & (summary["group"] == "all")].iloc[0]
        assert row["low"] < 1 < row["high"]
        assert row["value"] == pytest.approx(1, abs=0.1)
        assert set(summary["group"]) == {"all", "child", "5-10"}


def test_copies_of_a_patient_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    one = pd.DataFrame({"energy": rng.random(12), "area": 0.2, "hit": 1.0})
    one = one.assign(energy_in_hand=np.nan, area_in_hand=np.nan, region="r", source="model")
    copies = pd.concat([one] * 9, ignore_index=True)
    limits = []
    for rows, patients in ((one, None), (copies, np.tile(np.arange(12), 9)), (copies, None)):
        measured = rows.assign(image=range(len(rows)))
        summary = summarise(measured, age_groups(np.full(len(rows), 8.0), Stages()), patients)
        row = summary.query("metric == 'energy' and group == 'all'").iloc[0]
        limits.append(row["high"] - row["low"])
    assert limits[1] == pytest.approx(limits[0])
    assert limits[2] < 0.5 * limits[0]


@pytest.fixture(scope="module")
def run(trained):
    return trained()


def call(*arguments):
    checkpoint, *rest = map(str, arguments)
    return CliRunner().invoke(app, ["explain", "--checkpoint", checkpoint, *rest])


@pytest.mark.parametrize("method", get_args(Method))
def test_explain_draws_and_keeps_maps(run, phantom_root, tmp_path, method):
    images = sorted((phantom_root / "boneage-training-dataset").glob("*.png"))[:2]
    result = call(run, *images, "--out", tmp_path / "maps", "--method", method)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "maps/age_000.png").is_file()
    for image in images:
        kept = np.load(tmp_path / f"maps/{image.stem}_age.npy")
        assert kept.shape == tuple(reversed(Image.open(image).size))
        assert np.isfinite(kept).all()


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    answer = call(tmp_path / "no.ckpt", tmp_path / "no", "--out", tmp_path / "file/maps")
    said = str(answer.exception)
    assert re.search(r"file/maps cannot be written \(Not a.*choose another --out$", said)


def test_maps_have_files_of_their_own_on_disks_that_ignore_letter_case(run, phantom_root, tmp_path):
    source = phantom_root / "boneage-training-dataset/100001.png"
    films = [tmp_path / name for name in ("first/A1.png", "second/a1.png")]
    for film in films:
        film.parent.mkdir()
        shutil.copy(source, film)
    result = call(run, *films, "--out", tmp_path / "maps")
    assert result.exit_code == 0, result.output
    names = [file.name for file in (tmp_path / "maps").glob("*_age.npy")]
    assert sorted(names) == ["A1_age.npy", "a1_2_age.npy"]


def test_a_dicom_file_is_explained_as_its_picture_and_a_hidden_one_left_out(
    run, phantom_root, tmp_path
):
    plain = phantom_root / "boneage-training-dataset/100001.png"
    folder = tmp_path / "films"
    folder.mkdir()
    grey = np.array(Image.open(plain).convert("L"))
    packed = written(folder / "child.dcm", grey, PatientSex="F")
    shutil.copy(plain, folder / "._child.png")
    explained = Explained(run, [folder])
    assert explained.files == [packed]
    assert list(explained.table["sex"]) == ["female"]
    as_picture = Explained(run, [plain], sex="female")
    np.testing.assert_allclose(explained.images, as_picture.images, atol=1)
    assert list(Explained(run, [packed], sex="male").table["sex"]) == ["male"]


def test_the_header_gives_the_sex_that_an_exported_model_does_not_store(
    exported, phantom_root, tmp_path, caplog
):
    record = read_checkpoint(exported / "model.onnx")["boneage"]
    id_ = record["split"]["id"][0]
    grey = np.array(Image.open(phantom_root / f"boneage-training-dataset/{id_}.png").convert("L"))
    for sex, header in (("female", "F"), ("male", "M"), ("unknown", "")):
        film = written(tmp_path / f"{id_}.dcm", grey, PatientSex=header)
        (row,) = Explained(exported / "model.onnx", [film]).table.to_dict("records")
        assert (row["id"], row["fold"], row["sex"]) == (id_, record["split"]["fold"][0], sex)
        assert ("without a sex, which the model uses: 1 rad" in caplog.text) == (sex == "unknown")
    (row,) = Explained(exported / "model.onnx", [film], sex="male").table.to_dict("records")
    assert row["sex"] == "male"


def test_a_film_of_the_checkpoint_is_known_by_another_spelling_of_its_id(
    run, phantom_root, tmp_path
):
    shutil.copy(phantom_root / "boneage-training-dataset/100001.png", tmp_path / "0100001.png")
    split = pd.read_csv(run / "split.csv", dtype=str).set_index("id")
    (row,) = Explained(run, [tmp_path / "0100001.png"]).table.to_dict("records")
    assert (row["id"], row["fold"]) == ("0100001", split.loc["100001", "fold"])


def test_a_film_of_the_other_sex_only_shares_the_id(run, phantom_root, tmp_path, caplog):
    split = pd.read_csv(run / "split.csv", dtype=str)
    row = split.iloc[0]
    grey = np.array(
        Image.open(phantom_root / f"boneage-training-dataset/{row.id}.png").convert("L")
    )
    same, other = ("F", "M") if row.sex == "female" else ("M", "F")
    film = written(tmp_path / f"{row.id}.dcm", grey, PatientSex=same)
    own = Explained(run, [film]).table.iloc[0]
    assert (own["sex"], own["fold"]) == (row.sex, row.fold)
    assert own["age_years"] == pytest.approx(float(row.age_years), abs=1e-3)
    assert not caplog.text
    film = written(tmp_path / f"{row.id}.dcm", grey, PatientSex=other)
    stranger = Explained(run, [film]).table.iloc[0]
    assert stranger["sex"] == {"F": "female", "M": "male"}[other]
    assert stranger[["age_years", "fold"]].isna().all()
    assert f"{film}: the header has another sex than the checkpoint's table" in caplog.text


def test_radiographs_of_the_starting_weights_are_not_held_out(run, phantom_root, tmp_path):
    checkpoint = torch.load(checkpoint_file(run), weights_only=True)
    split = pd.DataFrame(checkpoint["boneage"]["split"])
    test = split[split["fold"] == "test"].reset_index(drop=True)
    months = test["age_months"].tolist()
    earlier = {"id": [f"0{test['id'][0]}.png", test["id"][1], "77"]}
    earlier |= {"age_months": [months[0], months[1] + 5, 90.0], "fold": ["train"] * 3}
    checkpoint["boneage"]["earlier"] = earlier
    torch.save(checkpoint, tmp_path / "tuned.ckpt")
    shutil.copy(
        phantom_root / f"boneage-training-dataset/{split['id'][0]}.png", tmp_path / "77.png"
    )
    table = write(tmp_path / "boxes.csv", *(BOX | FRAME | {"id": i} for i in [*test["id"], "77"]))
    images = [phantom_root, tmp_path / "77.png"]
    explained = Explained(tmp_path / "tuned.ckpt", images, regions=table)
    # the second has another age: another radiograph with its id
    assert set(explained.table["id"]) == set(test["id"][1:])


def test_measures_on_boxes_are_refused_without_boxes(run, phantom_root, tmp_path):
    for option in (("--also", run), ("--annotator", "A")):
        refused = call(run, phantom_root, "--out", tmp_path / "maps", *option)
        assert str(refused.exception) == (
            "--also and --annotator are for maps measured on boxes: give --boxes"
        )
    assert not (tmp_path / "maps").exists()


def test_another_run_is_opened_before_maps_are_written(run, phantom_root, tmp_path):
    masks, none = phantom_root / "masks", tmp_path / "none"
    refused = call(run, phantom_root, "--out", tmp_path / "m", "--boxes", masks, "--also", none)
    assert str(refused.exception).startswith(f"checkpoint {none} cannot be loaded")
    assert not (tmp_path / "m").exists()  # the repeated command is not refused


def test_boxes_are_measured_on_held_out_radiographs_only(run, phantom_root, tmp_path):
    split = pd.read_csv(run / "split.csv", dtype=str)
    rows = [BOX | FRAME | {"id": id_} for id_ in split["id"]]
    table = write(tmp_path / "boxes.csv", *rows)
    result = call(run, phantom_root, "--out", tmp_path / "maps", "--boxes", table)
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "maps/localisation.csv")
    shares = found[found["metric"] != "moved"]
    assert set(shares["source"]) <= {"model", "random_weights", "blob", "edges"}
    assert {"blob", "edges"} <= set(found["source"])
    assert found["n"].max() == (split["fold"] == "test").sum()
    trained_on = split["id"][split["fold"] == "train"]
    only = write(tmp_path / "seen.csv", *(BOX | FRAME | {"id": id_} for id_ in trained_on))
    refused = call(run, phantom_root, "--out", tmp_path / "refused", "--boxes", only)
    assert isinstance(refused.exception, UserError)
    assert "trained on every radiograph with regions" in str(refused.exception)
    other = write(tmp_path / "other.csv", BOX | FRAME)
    refused = call(run, phantom_root, "--out", tmp_path / "refused", "--boxes", other)
    assert "has no region for any of the 24 radiographs" in str(refused.exception)


def test_only_what_counts_is_read(run, own_root, tmp_path, caplog):
    """Damaged films without boxes, or that were trained on, do not matter: they are not opened."""
    split = pd.read_csv(run / "split.csv", dtype=str).set_index("id")["fold"]
    counted, left_out, *_ = split.index[split == "test"]
    trained_on = split.index[split == "train"][0]
    table = write(
        tmp_path / "boxes.csv", *(BOX | FRAME | {"id": id_} for id_ in (counted, trained_on))
    )
    for film in own_root.rglob("*.png"):
        if film.stem != counted:
            film.write_bytes(b"damaged")
    with caplog.at_level("INFO"):
        result = call(run, own_root, "--out", tmp_path / "maps", "--boxes", table)
    assert result.exit_code == 0, result.output
    assert "Radiographs with regions: 2 of 24." in caplog.text
    assert [file.stem for file in (tmp_path / "maps").glob("*.npy")] == [f"{counted}_age"]
    write(table, *(BOX | FRAME | {"id": id_} for id_ in (counted, left_out)))
    both = call(run, own_root, "--out", tmp_path / "both", "--boxes", table)
    assert both.exit_code == 0, both.output
    assert re.search(rf"Left out: \S+/{left_out}\.png: not a readable", caplog.text)
    assert [file.stem for file in (tmp_path / "both").glob("*.npy")] == [f"{counted}_age"]


def test_one_model_is_not_several(run, phantom_root, tmp_path):
    """Its own maps, measured again, would be shown as the spread of two trainings."""
    masks = phantom_root / "masks"
    copy = shutil.copy(checkpoint_file(run), tmp_path / "copy.ckpt")
    for also in (run, copy):
        refused = call(run, phantom_root, "--out", tmp_path / "m", "--boxes", masks, "--also", also)
        assert str(refused.exception).startswith("a checkpoint is given twice: ")
        assert not (tmp_path / "m").exists()
    for pair in ((tmp_path / "none.ckpt", run), (run, tmp_path / "none.ckpt")):
        words = ("--out", tmp_path / "m", "--boxes", masks, "--also", pair[1])
        missing = call(pair[0], phantom_root, *words)
        assert str(missing.exception) == (
            f"checkpoint {tmp_path}/none.ckpt cannot be loaded: No such file or directory"
        )


def test_a_phantom_is_measured_on_its_exact_masks(run, phantom_root, tmp_path):
    masks, other = phantom_root / "masks", tmp_path / "other.ckpt"
    torch.save(torch.load(checkpoint_file(run), weights_only=True) | {"note": "the same"}, other)
    result = call(run, phantom_root, "--out", tmp_path / "maps", "--boxes", masks, "--also", other)
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "maps/localisation.csv")
    exact = {"carpals", "epiphyses", "soft_tissue", "background"}
    assert exact <= set(found["region"]) <= exact | {"marker"}
    assert set(found["checkpoint"]) == {1, 2}
    shares = found[(found["metric"] == "enrichment") & (found["group"] == "all")]
    of_source = shares.pivot_table("value", ["source", "region"], "checkpoint")
    same = np.isclose(of_source[1], of_source[2])
    assert same[of_source.index.get_level_values("source") == "model"].all()  # one model twice
    assert not same[of_source.index.get_level_values("source") == "random_weights"].any()
    assert (tmp_path / "maps/localisation_age.png").is_file()
    split = pd.read_csv(run / "split.csv", dtype=str)
    area = found[(found["source"] == "blob") & (found["metric"] == "area")]
    area = area[(area["group"] == "all") & (area["region"] == "soft_tissue")]["value"].iloc[0]
    held_out = split["id"][split["fold"] == "test"]
    exact = [np.load(masks / f"{id_}.npz")["soft_tissue"].mean() for id_ in held_out]
    assert area == pytest.approx(np.mean(exact), abs=0.03)


def test_two_radiographs_of_one_name_are_refused(run, phantom_root, tmp_path):
    image = phantom_root / "boneage-training-dataset/100001.png"
    twin = shutil.copy(image, tmp_path)
    refused = call(run, image, twin, "--out", tmp_path / "maps")
    assert str(refused.exception) == (
        f"id 100001 has 2 images: {image}, {twin}; keep one of them, or, if they are different "
        "radiographs, explain them one by one"
    )
    assert not (tmp_path / "maps").exists()
    assert call(run, image, image, "--out", tmp_path / "maps").exit_code == 0
    with_others = ("--boxes", tmp_path / "none.csv", "--also", tmp_path / "none")
    for more in ((), with_others):  # said before another model is read
        again = call(run, image, "--out", tmp_path / "maps", *more)
        assert str(again.exception) == (
            f"{tmp_path}/maps contains maps already: remove them, or choose another --out"
        )


def test_films_of_one_name_get_the_ages_of_their_folders(run, phantom_root, tmp_path):
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    split = checkpoint["boneage"]["split"]
    for row, patient in enumerate(("A", "B:")):  # the second as a drive of Windows
        image = phantom_root / f"boneage-training-dataset/{split['id'][row]}.png"
        (tmp_path / patient).mkdir()
        shutil.copy(image, tmp_path / patient / "film.png")
        split["id"][row] = f"{patient}/film"
    torch.save(checkpoint, tmp_path / "model.ckpt")
    both, one = (
        Explained(tmp_path / "model.ckpt", [images]) for images in (tmp_path, tmp_path / "B:")
    )
    explain(both, tmp_path / "maps", "gradcam")
    both, one = both.table, one.table
    ages = np.array(split["age_months"][:2]) / 12
    assert ages[0] != ages[1]
    assert both["age_years"].tolist() == ages.tolist()
    assert one["age_years"].tolist() == [ages[1]]
    kept = {file.name for file in (tmp_path / "maps").glob("*.npy")}
    assert kept == {"A_film_age.npy", "B__film_age.npy"}


def test_a_check_on_few_radiographs_says_so(run, phantom_root, tmp_path):
    image = phantom_root / "boneage-training-dataset/100001.png"
    result = call(run, image, "--out", tmp_path / "maps", "--check", 1)
    said = "Only 1 radiograph checked, too few for a conclusion: give 20 or more, and --check 20 or"
    assert said in result.output
    assert said in (tmp_path / "maps/checks.txt").read_text()


@pytest.mark.slow
def test_checks_are_written_for_a_sample(run, phantom_root, tmp_path):
    result = call(run, phantom_root, "--out", tmp_path / "maps", "--check", 5)
    assert result.exit_code == 0, result.output
    for name in ("randomisation_age.csv", "deletion_age.csv", "sanity_age.png"):
        assert (tmp_path / "maps" / name).is_file()
    assert pd.read_csv(tmp_path / "maps/deletion_age.csv")["image"].nunique() == 5
    assert "with all layers randomised" in result.output
    assert "deleting marked pixels moves the prediction" in result.output


@pytest.mark.slow
def test_what_was_measured_stands_in_the_report(run, phantom_root):
    out = run / "gradcam"
    masks = phantom_root / "masks"
    assert call(run, phantom_root, "--out", out, "--boxes", masks, "--check", 3).exit_code == 0
    assert CliRunner().invoke(app, ["report", str(run)]).exit_code == 0
    page = (run / "report.html").read_text()
    for file in ("claims.txt", "checks.txt"):
        lines = (out / file).read_text().splitlines()
        assert lines
        assert all(line in page for line in lines)
    assert "layers are reset at random" in page
    assert "1 is chance. Hollow" in page


@pytest.fixture
def some(configure):
    """A model, and radiographs with their sexes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 32, 32), dtype=np.uint8)
    return build_model(configure(), record={}), images, torch.tensor([0, 1, 0, 1, 0])


def test_random_weights_are_a_copy(some):
    model = some[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = with_random_weights(*some, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    first = "backbone.layers.0.weight"
    assert not torch.equal(random.state_dict()[first], before[first])
    assert not random.training


@pytest.mark.parametrize(
    "task",
    [
        ["task=multitask"],
        ["task=classification", "tasks.stage._target_=boneage.tasks.ordinal.OrdinalStages"],
    ],
    ids=lambda overrides: overrides[-1].rpartition(".")[2],
)
def test_random_weights_leave_nothing_that_was_learned(task, some, configure):
    """Whatever the values of a network, networks with random weights of one seed are the same."""
    model = build_model(configure(*task), record={})
    random = with_random_weights(model, *some[1:], seed=0)
    with torch.no_grad():
        for values in model.parameters():
            values.add_(3)
    again = with_random_weights(model, *some[1:], seed=0)
    for (name, one), other in zip(random.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_random_weights_normalise_the_radiographs(some):
    """Normalised by their own mean and variance, as by hand, no channel is always zero."""
    random = with_random_weights(*some, seed=0)
    layers = dict(random.backbone.named_modules())
    norm = next(name for name, layer in layers.items() if isinstance(layer, nn.BatchNorm2d))
    kept = []
    layers[norm].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    image = torch.from_numpy(some[1])[:, None]
    random(torch.cat([image, image.flip(-1)]), some[2].repeat(2))
    seen = kept[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(layers[norm].running_mean, seen.mean(dim=1))
    torch.testing.assert_close(layers[norm].running_var, seen.var(dim=1))


def test_each_map_is_of_its_own_radiograph_and_sex(some, monkeypatch):
    def marked(model, image, sex, task, method):
        return image[:, 0] + 1000.0 * sex[:, None, None]

    monkeypatch.setattr("boneage.explain.methods.attribute", marked)
    sex = torch.tensor([0, 0, 1, 1, 2])
    expected = some[1] + 1000.0 * sex.numpy()[:, None, None]
    assert (maps_of(*some[:2], sex, "age", "gradcam") == expected).all()


def test_the_control_is_the_mean_of_three_networks(some):
    half = np.zeros((32, 32), bool)
    half[:16] = True
    regions = np.stack([half, ~half, half, half, half])
    masks = [{"half": region} for region in regions]
    sample = Sample(*some[1:], masks, age_groups(np.full(5, 8.0), Stages()))
    found = measure_model(some[0], sample, seed=1)
    energy = found[(found["metric"] == "energy") & (found["group"] == "all")].set_index("source")
    networks = [with_random_weights(*some, seed) for seed in (3, 4, 5)]
    maps = [maps_of(one, some[1], some[2], "age", "gradcam").clip(min=0) for one in networks]
    with np.errstate(invalid="ignore"):  # a map without positive values
        shares = [(m * regions).sum(axis=(1, 2)) / m.sum(axis=(1, 2)) for m in maps]
    expected = np.nanmean(np.nanmean(shares, axis=0))
    assert energy.loc["random_weights", "value"] == pytest.approx(expected)
    strength = edges(some[1])  # of each radiograph in its own region
    share = (strength * regions).sum(axis=(1, 2)) / strength.sum(axis=(1, 2))
    assert energy.loc["edges", "value"] == pytest.approx(share.mean())


def planted_summary(child_wrist, adolescent_mcp):
    """Enrichments of one model a list item, beside controls of 1.3 and less."""
    rows = []
    for checkpoint, values in enumerate(zip(child_wrist, adolescent_mcp, strict=True), start=1):
        for group, strong, value in zip(
            ("child", "adolescent"), ("Wrist", "MCP"), values, strict=True
        ):
            for region in ("Wrist", "MCP"):
                for source, control in (("random_weights", 1.1), ("blob", 1.3), ("edges", 0.9)):
                    rows.append((checkpoint, group, region, source, control))
                rows.append((checkpoint, group, region, "model", value if region == strong else 1))
    table = pd.DataFrame(rows, columns=["checkpoint", "group", "region", "source", "value"])
    return table.assign(
        low=table["value"] - 0.2, high=table["value"] + 0.2, n=50, task="age", metric="enrichment"
    )


def claims(summary):
    study = Reference.model_validate(reference_study())
    return [line for line in sentences(summary, study.claims) if "the claim" in line]


def test_regions_are_sorted_by_the_controls_they_exceed():
    child = planted_summary([2, 2.2, 1], [2, 2, 2])
    summary = child[child["group"] == "child"].assign(group=ALL)
    order, first = sentences(summary)
    assert order == "The values of the 3 models are in the given order."
    assert first == (
        "age: enrichment of the maps, 1 is chance (n = 50): not clear in Wrist 2.00 (1.80 to 2.20) "
        "and 2.20 (2.00 to 2.40) and 1.00 (0.80 to 1.20); below the best control in MCP 1.00 (0.80 "
        "to 1.20) and 1.00 (0.80 to 1.20) and 1.00 (0.80 to 1.20)."
    )
    in_hand = summary.assign(metric="enrichment_in_hand", value=9.0)
    assert sentences(pd.concat([summary, in_hand])) == [order, first]  # another measure
    _, sentence = sentences(summary[summary["checkpoint"] < 3])
    assert "above all controls in Wrist 2.00" in sentence
    n = np.where(summary["source"] == "model", 50, 40)
    assert sentences(summary.assign(n=n)) == [order, first]  # of the model
    assert sentences(summary.assign(region="background")) == []


def test_claims_are_those_of_a_study_that_is_named():
    summary = planted_summary([2], [2])
    assert sentences(summary) == []
    assert len(claims(summary)) == 2
    mine = Claim(stage="child", regions=["MCP"], others=["Wrist"])
    (sentence,) = sentences(summary, [mine])
    assert "MCP in the stage child does not hold" in sentence
    assert "0 of 1 look there more than at Wrist" in sentence


def test_claims_need_every_model_above_every_control():
    wrist, mcp = claims(planted_summary([2, 2.2, 1.9], [2, 1.4, 1.2]))
    assert "Wrist in the stage child holds" in wrist
    assert "3 of 3 models above all controls, 3 of 3 look there more than at MCP" in wrist
    assert "MCP in the stage adolescent is not clear" in mcp  # 1.4 - 0.2 is below the blob's 1.3
    assert "1 of 3 models above all controls" in mcp
    wrist, _ = claims(planted_summary([1.2], [1]))
    assert "Wrist in the stage child is not clear" in wrist  # 1.2 + 0.2 is above the blob's 1.3
    wrist, _ = claims(planted_summary([1], [1]))
    assert "Wrist in the stage child does not hold" in wrist
    assert "0 of 1 look there more than at MCP" in wrist  # as much
    summary = planted_summary([1], [1])
    third = summary[summary["region"] == "MCP"].assign(region="Forearm", value=9.0)
    assert claims(pd.concat([summary, third]))[0] == wrist  # of which the claim says nothing
    is_map = (summary["source"] == "model") & (summary["region"] == "Wrist")
    wrist, _ = claims(summary[~is_map])  # nothing there raises the prediction
    assert "Wrist in the stage child does not hold: enrichment none, compared" in wrist
    alone = planted_summary([2], [1]).assign(low=np.nan, high=np.nan, n=1)  # of a single radiograph
    assert "Wrist in the stage child is not clear: enrichment 2.00, compared" in claims(alone)[0]
    assert claims(planted_summary([1], [1]).assign(region="elsewhere")) == []


def test_a_control_is_as_uncertain_as_the_model():
    """Without a true difference, a single model is rarely above all controls, or below the best."""
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(20):
        # model and blob have the same true enrichment and standard error
        value = np.ones((50, 4))
        value[:, :2] = rng.normal(2, 0.1, (50, 2))
        table = pd.DataFrame({"value": value.ravel()})
        table = table.assign(low=table["value"] - 0.196, high=table["value"] + 0.196)
        table["source"] = ["model", "blob", "random_weights", "edges"] * 50
        table["region"] = np.repeat([f"region {i}" for i in range(50)], 4)
        table = table.assign(group=ALL, task="age", metric="enrichment", checkpoint=1, n=50)
        for told in sentences(table)[0].split("; "):
            verdict = re.search("above all|below the best|not clear", told)[0]
            verdicts += [verdict] * told.count("region ")
    assert len(verdicts) == 1000
    wrong = pd.Series(verdicts).value_counts(normalize=True)
    assert wrong["above all"] < 0.04  # 2.5 % each
    assert wrong["below the best"] < 0.04
