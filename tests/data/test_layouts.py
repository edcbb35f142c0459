"""Every layout in which people keep the RSNA data, and every way in which one can be broken."""

import logging
import os

import openpyxl
import pytest

from boneage.data.layouts import read_source
from boneage.data.radiographs import find_radiographs
from boneage.data.tables import matching
from boneage.data.tables.columns import Columns
from boneage.errors import UserError

KAGGLE_TABLE = "boneage-training-dataset.csv"
KAGGLE_IMAGES = "boneage-training-dataset/boneage-training-dataset"


def put(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def put_images(folder, ids, suffix=".png"):
    for i in ids:
        put(folder / f"{i}{suffix}")


def put_xlsx(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def official(root):
    """The RSNA zips, unpacked side by side."""
    put(root / "train.csv", "id,boneage,male\n1377,180,False\n1378,12,True\n")
    put_images(root / "boneage-training-dataset", [1377, 1378])
    val = root / "Bone Age Validation Set"
    put(
        val / "Validation Dataset.csv",
        "Image ID,male,Bone Age (months)\n1386,TRUE,30\n1392,FALSE,42\n",
    )
    put_images(val / "boneage-validation-dataset-1", [1386])
    put_images(val / "boneage-validation-dataset-2", [1392])
    test = root / "Bone Age Test Set"
    header = ["Case ID", "Sex", "Ground truth bone age (months)"]
    put_xlsx(test / "Bone age ground truth.xlsx", [header, [4360, "M", 168.93]])
    put(test / "~$Bone age ground truth.xlsx", "a lock file of the spreadsheet program")
    put_images(test / "Test Set Images", [4360])


def kaggle(root):
    put(root / KAGGLE_TABLE, "id,boneage,male\n1377,180,False\n1378,12,True\n")
    put_images(root / KAGGLE_IMAGES, [1377, 1378])
    put(root / "boneage-test-dataset.csv", "Case ID,Sex\n4360,M\n4361,F\n")
    put_images(root / "boneage-test-dataset/boneage-test-dataset", [4360, 4361])


def rows(table, *columns):
    return list(table[list(columns)].itertuples(index=False, name=None))


@pytest.fixture
def said(caplog):
    """What was logged, line by line."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def test_official(tmp_path, said):
    official(tmp_path)
    table = read_source(tmp_path)
    assert rows(table, "id", "age_months", "sex", "origin") == [
        ("1377", 180.0, "female", "train"),
        ("1378", 12.0, "male", "train"),
        ("1386", 30.0, "male", "val"),
        ("1392", 42.0, "female", "val"),
        ("4360", 168.93, "male", "test"),
    ]
    assert table["path"][3] == str(
        tmp_path / "Bone Age Validation Set/boneage-validation-dataset-2/1392.png"
    )
    assert list(table.index) == list(range(5))
    assert said() == [
        f"Radiographs in {tmp_path}: 2 to train on (train.csv), "
        "2 for validation (Validation Dataset.csv), 1 for testing (Bone age ground truth.xlsx)"
    ]


def test_kaggle_with_its_test_images_that_have_no_ages(tmp_path, said):
    kaggle(tmp_path)
    table = read_source(tmp_path)
    assert rows(table, "id", "origin") == [("1377", "train"), ("1378", "train")]
    assert "boneage-test-dataset.csv has no ages and is not used" in said()[0]


@pytest.mark.parametrize("header", ["Image ID,male,Bone Age (months)", "id,male,boneage"])
def test_copy_that_calls_the_validation_set_test(tmp_path, said, header):
    kaggle(tmp_path)
    ids = range(5000, 6425)
    lines = [f"{i},TRUE,120" for i in ids]
    put(tmp_path / "boneage-test-dataset.csv", "\n".join([header, *lines]))
    put_images(tmp_path / "boneage-test-dataset", ids)
    (tmp_path / "boneage-test-dataset/boneage-test-dataset/4360.png").unlink()
    (tmp_path / "boneage-test-dataset/boneage-test-dataset/4361.png").unlink()
    table = read_source(tmp_path)
    assert table["origin"].value_counts().to_dict() == {"train": 2, "val": 1425}
    assert "despite its name, the official validation table" in said()[0]


@pytest.mark.parametrize(
    ("name", "header", "origin"),
    [
        ("mine.csv", "Image ID,Bone Age,Sex", "train"),
        ("mine.csv", "Case ID,Bone age (months),Sex", "train"),
        ("mine_train.csv", "Image ID,Bone Age (months),male", "train"),
        ("mine.csv", "Image ID,Bone Age (months),male", "val"),
        ("mine.csv", "Case ID,Ground truth bone age (months),Sex", "test"),
        ("mine_test.csv", "Case ID,Bone age,Sex", "test"),
    ],
)
def test_only_the_headers_of_official_tables_have_a_role(tmp_path, name, header, origin):
    """A table of one's own with a column such as "Image ID" was taken for the validation table."""
    value = "M" if "Sex" in header else "TRUE"
    put(tmp_path / name, f"{header}\n1,120,{value}\n2,90,{value}\n")
    put_images(tmp_path, [1, 2])
    assert set(read_source(tmp_path)["origin"]) == {origin}


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("boneage-val.csv", "val"),
        ("RSNA_Validation.csv", "val"),
        ("rsna_test.csv", "test"),
        ("validation-dataset.csv", "val"),
        ("ValidationDataset.csv", "val"),
        ("valset.csv", "val"),
        ("val_2.csv", "val"),
        ("testcases.csv", "test"),
        ("Testing.csv", "test"),
        ("test1.csv", "test"),
        ("validated_labels.csv", "train"),
        ("values.csv", "train"),
        ("Test of the new readers.csv", "train"),
        ("tested.csv", "train"),
        ("testosterone.csv", "train"),
        ("latest.csv", "train"),
        ("intervals.csv", "train"),
        ("trainval.csv", "train"),
        ("Train-without-test.csv", "train"),
    ],
)
def test_role_by_file_name(tmp_path, name, origin, said):
    put(tmp_path / name, "id,male,boneage\n1,True,30\n")
    put_images(tmp_path, [1])
    assert rows(read_source(tmp_path), "id", "origin") == [("1", origin)]
    purpose = {"train": "", "val": " for validation", "test": " for testing"}[origin]
    assert said()[0].endswith(f": 1{purpose} ({name})")


def test_other_files_are_passed_over(tmp_path, said):
    kaggle(tmp_path)
    put(tmp_path / "original-sizes.csv", "id,height,width\n9,3,4\n")
    put(tmp_path / "notes.csv", "")
    put(tmp_path / "masks/1377.npz")
    put(tmp_path / KAGGLE_IMAGES / "._1377.png")
    put(tmp_path / ".trash/1377.png")
    put(tmp_path / "._labels.csv", "id,boneage\n1,2\n")
    assert len(read_source(tmp_path)) == 2
    assert said()[0].startswith("Skipped: ")
    assert "notes.csv" in said()[0]


@pytest.mark.parametrize("suffix", [".PNG", ".jpg", ".JPEG", ".tif", ".tiff", ".bmp"])
def test_image_suffixes(tmp_path, suffix):
    put(tmp_path / "labels.csv", "id,boneage\n007,26\n")
    put_images(tmp_path / "a/b/c", ["007"], suffix)
    assert list(read_source(tmp_path)["path"]) == [str(tmp_path / f"a/b/c/007{suffix}")]


def test_links_are_followed_once(tmp_path):
    root = tmp_path / "root"
    put(root / "labels.csv", "id,boneage\n1,26\n2,30\n")
    put_images(tmp_path / "elsewhere", [1, 2])
    (root / "images").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    assert list(read_source(root)["path"]) == [str(root / f"again/{i}.png") for i in (1, 2)]


def test_relative_root_gives_absolute_paths(tmp_path, monkeypatch):
    kaggle(tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    paths = read_source(tmp_path.name)["path"]
    assert all(os.path.isabs(path) and os.path.exists(path) for path in paths)


def test_ids_never_become_paths(tmp_path):
    put(tmp_path / "secret.png")
    put(tmp_path / "root/labels.csv", f"id,boneage\n../secret,2\n{tmp_path}/secret,3\n1,40\n")
    put_images(tmp_path / "root", [1])
    with pytest.raises(UserError, match=r"2 ids without an image: \.\./secret"):
        read_source(tmp_path / "root")
    assert list(read_source(tmp_path / "root", missing="drop")["id"]) == ["1"]


def test_own_table_beside_the_official_ones(tmp_path):
    official(tmp_path)
    put(tmp_path / "mine.csv", "patient,years,gender\n1378,2.5,F\n")
    columns = Columns("patient", "years", "gender", age_unit="years")
    with pytest.raises(
        UserError, match=r"2 tables to train on: mine\.csv, train\.csv.*data\.table="
    ):
        read_source(tmp_path, columns=columns)
    table = read_source(tmp_path, "mine.csv", columns=columns)
    assert rows(table, "id", "age_months", "origin")[0] == ("1378", 30.0, "train")
    assert table["origin"].value_counts().to_dict() == {"train": 1, "val": 2, "test": 1}
    absolute = read_source(tmp_path, str(tmp_path / "mine.csv"), columns=columns)
    assert absolute.equals(table)
    validation = "Bone Age Validation Set/Validation Dataset.csv"  # has names of its own
    named = read_source(tmp_path, "mine.csv", val_table=validation, columns=columns)
    assert named.equals(table)


def test_a_table_that_is_used_is_read_once(tmp_path, monkeypatch):
    official(tmp_path)
    put(tmp_path / "others.csv", "id,sex\n1,M\n")
    paths = []
    monkeypatch.setattr(matching, "read_ids", lambda path, _: paths.append(path.name) or ["1"])
    assert len(read_source(tmp_path)) == 5
    assert paths == ["others.csv"]


def test_a_table_that_is_not_chosen_is_named(tmp_path, said):
    put(tmp_path / "mine.csv", "id,boneage\n1,120\n")
    put(tmp_path / "others.csv", "id,boneage\n2,130\n")
    put_images(tmp_path, [1, 2])
    with pytest.raises(UserError, match=r"data\.table= in training; for boneage commands, move"):
        read_source(tmp_path)
    read_source(tmp_path, "mine.csv")
    assert said()[-1].endswith(": 1 (mine.csv); others.csv is not used")
    read_source(tmp_path, "mine.csv", test_table="others.csv")
    assert "not used" not in said()[-1]
    (tmp_path / "others.csv").unlink()
    assert len(read_source(tmp_path, missing="drop")) == 1
    (tmp_path / "mine.csv").rename(tmp_path.with_suffix(".csv"))
    with pytest.raises(UserError, match=r"no label table.*below it \(elsewhere: data\.table="):
        read_source(tmp_path)
    assert len(read_source(tmp_path, str(tmp_path.with_suffix(".csv")), missing="drop")) == 1


def test_given_table_takes_the_role_it_is_given(tmp_path):
    official(tmp_path)
    validation = "Bone Age Validation Set/Validation Dataset.csv"
    table = read_source(tmp_path, table=validation)
    assert table["origin"].value_counts().to_dict() == {"train": 2, "test": 1}
    table = read_source(tmp_path, test_table=validation)
    assert table["origin"].value_counts().to_dict() == {"train": 2, "test": 2}


def test_two_test_tables(tmp_path):
    official(tmp_path)
    put(tmp_path / "test.csv", "id,boneage,male\n4360,169,True\n")
    with pytest.raises(
        UserError, match=r"2 tables for testing: .*xlsx, test\.csv.*data\.test_table="
    ):
        read_source(tmp_path)
    table = read_source(tmp_path, test_table="test.csv")
    assert rows(table, "id", "age_months")[-1] == ("4360", 169.0)


def test_two_validation_tables(tmp_path):
    official(tmp_path)
    put(tmp_path / "val.csv", "id,boneage,male\n1386,169,True\n")
    with pytest.raises(UserError, match=r"2 tables for validation.*data\.val_table="):
        read_source(tmp_path)
    assert len(read_source(tmp_path, val_table="val.csv")) == 4


def test_tables_without_ages_are_refused(tmp_path):
    kaggle(tmp_path)
    for option in ("table", "test_table"):
        with pytest.raises(UserError, match=r"boneage-test-dataset\.csv has no age column"):
            read_source(tmp_path, **{option: "boneage-test-dataset.csv"})
    (tmp_path / KAGGLE_TABLE).unlink()
    with pytest.raises(
        UserError, match=r"boneage-test-dataset\.csv has no age column.*Kaggle.*boneage predict"
    ):
        read_source(tmp_path)


def test_configured_name_that_is_absent(tmp_path):
    kaggle(tmp_path)
    with pytest.raises(UserError, match=r"no column 'years'.*data\.columns\.age="):
        read_source(tmp_path, columns=Columns(age="years"))


def test_root(tmp_path):
    with pytest.raises(UserError, match=r"data\.root=.*gone: no such folder"):
        read_source(tmp_path / "gone")
    put(tmp_path / "file")
    with pytest.raises(UserError, match=r"data\.root=.*file: a file: give the folder"):
        read_source(tmp_path / "file")
    (tmp_path / "hands.zip").write_bytes(b"PK\3\4")
    with pytest.raises(UserError, match=r"data\.root=.*hands\.zip: a zip archive: unpack it"):
        read_source(tmp_path / "hands.zip")
    with pytest.raises(UserError, match=r"no label table.*found: no table at all"):
        read_source(tmp_path)
    put(tmp_path / "sizes.csv", "id,height\n1,2\n")
    with pytest.raises(UserError, match=r"no label table.*sizes\.csv \(id, height\)"):
        read_source(tmp_path)
    put(tmp_path / "labels.csv", "id,boneage\n1,26\n")
    with pytest.raises(UserError, match="no images"):
        read_source(tmp_path)
    with pytest.raises(UserError, match=r"gone\.csv: no such table"):
        read_source(tmp_path, table="gone.csv")


def test_ids_without_image_and_images_without_row(tmp_path, said):
    put(tmp_path / "labels.csv", "id,boneage,male\n" + "".join(f"{i},{i}1,1\n" for i in range(30)))
    put_images(tmp_path, range(3, 34))
    with pytest.raises(UserError) as caught:
        read_source(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: 3 ids without an image: 0, 1, 2; "
        "4 images without a row: 30, 31, 32, 33; data.missing=drop leaves them out"
    )
    table = read_source(tmp_path, missing="drop")
    assert list(table["id"]) == [str(i) for i in range(3, 30)]
    assert list(table.index) == list(range(27))
    assert "3 ids without an image" in said()[0]
    assert ": 27 (labels.csv)" in said()[1]
    with pytest.raises(UserError, match=r"data\.missing=skip"):
        read_source(tmp_path, missing="skip")
    put(tmp_path / "labels.csv", "id,boneage\na,100\n")
    with pytest.raises(UserError, match="no id of the label tables has an image"):
        read_source(tmp_path, missing="drop")


def test_a_systematic_part_is_not_advised_to_be_dropped(tmp_path, said):
    rows = [f"{i},{i % 200},1\n" for i in range(100, 200)]
    put(tmp_path / "labels.csv", "id,boneage,male\n" + "".join(rows))
    put_images(tmp_path, [*range(100, 185), *(f"hand_{i}" for i in range(185, 200))])
    with pytest.raises(UserError, match=r"15 ids without an image.*this share suggests") as caught:
        read_source(tmp_path)
    assert "data.missing" not in str(caught.value)
    read_source(tmp_path, missing="drop")
    assert "15 ids without an image" in said()[0]


def test_a_table_whose_images_are_all_elsewhere_is_systematic(tmp_path):
    official(tmp_path)
    lines = [f"{i},180,False\n" for i in range(5000, 5040)]
    put(tmp_path / "train.csv", "id,boneage,male\n" + "".join(lines))
    put_images(tmp_path / "boneage-training-dataset", range(5000, 5040))
    (tmp_path / "Bone Age Test Set/Test Set Images/4360.png").unlink()
    with pytest.raises(UserError, match=r"1 id without an image: 4360.*this share suggests"):
        read_source(tmp_path)


def test_id_in_two_tables(tmp_path):
    official(tmp_path)
    put(tmp_path / "train.csv", "id,boneage,male\n1377,180,False\n1386,12,True\n")
    with pytest.raises(UserError, match=r"1 id both in .*train\.csv and in .*Dataset\.csv: 1386"):
        read_source(tmp_path, missing="drop")


def test_two_images_in_one_folder(tmp_path):
    kaggle(tmp_path)
    (image,) = tmp_path.rglob("1378.png")
    put(image.with_suffix(".jpg"))
    with pytest.raises(UserError, match=r"id 1378 has 2 images: .*; keep one of them$"):
        read_source(tmp_path)


def test_id_with_two_images(tmp_path):
    kaggle(tmp_path)
    put(tmp_path / "copy/1378.jpg")
    put(tmp_path / "copy/4360.png")  # its table is not used
    said = (
        r"id 1378 has 2 images: .*1378\.png, .*copy/1378\.jpg; keep .* folders: .*/1378, copy/1378"
    )
    with pytest.raises(UserError, match=said):
        read_source(tmp_path)
    (tmp_path / "copy/1378.jpg").unlink()
    assert len(read_source(tmp_path)) == 2


def test_names_of_macos_match_the_table(tmp_path):
    put(tmp_path / "labels.csv", "id,boneage,male\nZo\u00eb,60,0\nRen\u00e9,70,1\n")
    put_images(tmp_path, ["Zoe\u0308", "Rene\u0301"])
    table = read_source(tmp_path)
    assert list(table["id"]) == ["Zo\u00eb", "Ren\u00e9"]
    assert [os.path.exists(path) for path in table["path"]] == [True, True]


@pytest.mark.parametrize(
    ("header", "ids", "files"),
    [
        ("ID,Male,Boneage", ["1378", "378"], ["01378", "00378"]),  # RHPE
        (
            "image_ID,sex,bone_age",
            ["4360.png", "la_dha_01.png"],
            ["4360", "la_dha_01"],
        ),  # Deeplasia
        ("file name,gender,boneage", ["films/a.PNG", "films\\B.png"], ["A", "b"]),
        ("id,male,boneage", ["007", "8"], ["7", "0008"]),
    ],
)
def test_ids_written_otherwise_than_the_files_are_matched_and_it_is_said(
    tmp_path, said, header, ids, files
):
    put(tmp_path / "labels.csv", f"{header}\n{ids[0]},M,100\n{ids[1]},F,120\n")
    put_images(tmp_path, files)
    table = read_source(tmp_path)
    assert list(table["id"]) == ids
    assert list(table["path"]) == [str(tmp_path / f"{file}.png") for file in files]
    assert "2 ids matched ignoring folder, suffix, leading zeros, case and " in said()[0]
    assert sum("ids matched" in line for line in said()) == 1
    assert f"{ids[0]} = {files[0]}" in said()[0]


def test_a_table_that_is_not_used_does_not_keep_ids_from_matching(tmp_path):
    put_images(tmp_path, ["00001", "00002"])
    put(tmp_path / "original.csv", "id,boneage,male\n00001,100,M\n00002,120,F\n")
    put(tmp_path / "mine.csv", "id,boneage,male\n1,100,M\n2,120,F\n")  # saved by a spreadsheet
    table = read_source(tmp_path, table="mine.csv")
    assert list(table["path"]) == [str(tmp_path / f"0000{i}.png") for i in (1, 2)]


def test_what_is_ambiguous_is_not_matched(tmp_path):
    put(tmp_path / "labels.csv", "id,boneage,male\n1378,100,M\n01378,110,F\n9,120,F\n")
    put_images(tmp_path, ["01378", "09", "009"])
    with pytest.raises(UserError, match=r"2 ids without an image: 1378, 9;.*row: 009, 09;"):
        read_source(tmp_path)


def test_prediction_finds_the_files_that_training_finds(tmp_path):
    root = tmp_path / "root"
    put(root / "labels.csv", "id,boneage,male\n1,100,M\n2,110,F\n3,120,F\n")
    put_images(root / "below", [1])
    put_images(tmp_path / "elsewhere", [2])
    put(tmp_path / "elsewhere/.hidden.png")
    put(tmp_path / "film.png")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "3.png").symlink_to(tmp_path / "film.png")
    found = find_radiographs([root])
    assert sorted(str(file) for file in found) == sorted(read_source(root)["path"])
    assert len(found) == 3
    (root / "4.png").symlink_to("4.png")  # to itself: its reader says so
    assert len(find_radiographs([root])) == 4


def test_hidden_images_are_counted_in_one_line(tmp_path, caplog):
    """For training and prediction alike; not what macOS stores next to a file."""
    put(tmp_path / "labels.csv", "id,boneage,male\n1,100,M\n2,110,F\n")
    put_images(tmp_path, [1, 2])
    put(tmp_path / "._1.png")
    put(tmp_path / ".DS_Store")
    put(tmp_path / ".trash/3.png")
    for read in (lambda: find_radiographs([tmp_path]), lambda: read_source(tmp_path)):
        assert len(read()) == 2
        assert "before the name" not in caplog.text
    put(tmp_path / ".3.png")
    (tmp_path / ".scan").write_bytes(b"\x89PNG\r\n\x1a\n")
    for read in (lambda: find_radiographs([tmp_path]), lambda: read_source(tmp_path)):
        caplog.clear()
        assert len(read()) == 2
        assert caplog.text.count("2 images skipped, because a dot before the name hides") == 1
        assert ".3.png, .scan" in caplog.text


def test_what_prediction_passes_over_in_a_folder_is_named(tmp_path, caplog):
    put_images(tmp_path, [1])
    (tmp_path / "scan").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "photo.jfif").write_bytes(b"\xff\xd8\xff\0")
    (tmp_path / "old.gif").write_bytes(b"GIF89a\x01\0\x01\0\0\0\0")
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.4\n")
    (tmp_path / "1001.npz").write_bytes(b"PK\x03\x04\0")
    put(tmp_path / "notes.txt", "text")
    put(tmp_path / "labels.csv", "id,sex\n1,M\n")
    assert {file.name for file in find_radiographs([tmp_path])} == {"1.png", "scan", "photo.jfif"}
    assert "Not read: 2 other files (old.gif, scan.pdf); the formats are DICOM, PNG" in caplog.text
    for name in ("1.png", "scan", "photo.jfif"):
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"no radiograph in .*only 2 other files \(old\.gif, s"):
        find_radiographs([tmp_path])


def test_images_of_one_name_are_told_apart_by_the_folders_of_the_ids(tmp_path):
    for patient in ("anna", "ben"):
        put_images(tmp_path / "films" / patient / "study", [1])
    put_images(tmp_path / "films", [2])
    table = tmp_path / "films/labels.csv"
    put(table, "id,boneage,male\nanna/study/1,100,F\nben\\study\\1.png,110,M\n2,120,F\n")
    rows = read_source(tmp_path / "films").set_index("id")
    assert list(rows.index) == ["anna/study/1", r"ben\study\1.png", "2"]
    ends = ["/anna/study/1.png", "/ben/study/1.png", "/films/2.png"]
    assert all(path.endswith(end) for path, end in zip(rows["path"], ends, strict=True))
    put(table, "id,boneage,male\n1,100,F\n2,120,F\n")
    with pytest.raises(UserError, match=r"id 1 has 2 images.*: anna/study/1, ben/study/1$"):
        read_source(tmp_path / "films")


def test_an_image_belongs_to_the_row_that_names_most_of_its_folders(tmp_path):
    for folder in ("anna", "second/anna"):
        put_images(tmp_path / folder, ["hand"])
    put(tmp_path / "labels.csv", "id,boneage\nanna/hand,100\nsecond/anna/hand,110\n")
    paths = list(read_source(tmp_path)["path"])
    assert paths == [str(tmp_path / id_) for id_ in ("anna/hand.png", "second/anna/hand.png")]


def test_the_only_image_of_a_name_belongs_to_the_row_of_its_folder(tmp_path):
    put_images(tmp_path / "ben", ["hand"])
    put(tmp_path / "labels.csv", "id,boneage\nanna/hand,100\nben/hand,110\n")
    assert rows(read_source(tmp_path, missing="drop"), "id", "age_months") == [("ben/hand", 110.0)]


def test_a_separator_that_is_given_is_for_the_tables_that_have_it(tmp_path):
    official(tmp_path)
    put(tmp_path / "mine.csv", "id;months, of one, or two;male\n1377;180,5;F\n1378;12;M\n")
    columns = Columns(age="months, of one, or two", separator="semicolon")
    table = read_source(tmp_path, "mine.csv", columns=columns)
    assert list(table["age_months"]) == [180.5, 12.0, 30.0, 42.0, 168.93]


@pytest.mark.parametrize("name", ["labels.xls", "Labels.ODS"])
def test_a_table_that_is_not_read_is_told_how_to_be_saved(tmp_path, name):
    put(tmp_path / name)
    put_images(tmp_path, [1])
    with pytest.raises(UserError, match=rf"no label table.*; save as xlsx or csv: .*{name}$"):
        read_source(tmp_path)


def test_a_table_of_long_notes_is_found(tmp_path):
    note = '"' + "read again;\n" * 300 + '"'
    lines = [f"{i},{100 + i},{note},M\n" for i in range(40)]
    put(tmp_path / "labels.csv", "\n\nid,boneage,notes,sex\n" + "".join(lines))
    put_images(tmp_path, range(40))
    assert list(read_source(tmp_path)["age_months"]) == [100.0 + i for i in range(40)]


def test_ids_that_are_names_of_folders_are_told(tmp_path):
    for patient in ("P1", "P2"):
        put_images(tmp_path / f"DICOM/{patient}/SE1", ["IM1"])
    put(tmp_path / "labels.csv", "id,boneage,male\nP1,60,True\nP2,70,False\n")
    with pytest.raises(UserError, match=r"ids that are names of folders .* as in P1/SE1/IM1$"):
        read_source(tmp_path)


def test_results_below_the_radiographs_are_neither_trained_on_nor_predicted(tmp_path, caplog):
    caplog.set_level("INFO")
    put(tmp_path / "labels.csv", "id,boneage,male\n1,120,True\n2,130,False\n")
    put_images(tmp_path, [1, 2])
    films = [str(file) for file in find_radiographs([tmp_path])]
    results = {
        "outputs/age/finished": ("metrics.json", "predictions.csv", "figures/scatter.png"),
        "outputs/age/stopped": ("train.log", ".hydra/config.yaml", "gradcam/age_epoch_005.png"),
        "predicted": ("predictions.csv", "predictions.json", "pictures/1.jpg", "pictures/2.jpg"),
        "stopped": ("predictions.part", "pictures/1.jpg"),
        "explained": ("age_000.png", "1_age.npy", "bone_age_000.png", "1_bone_age.npy"),
        "stressed": ("stress.csv", "stress.png"),
    }
    for folder, names in results.items():
        for name in names:
            put(tmp_path / folder / name)
    assert list(read_source(tmp_path)["path"]) == films
    assert "2 run folders skipped" in caplog.text
    assert "6 images drawn by boneage skipped" in caplog.text
    assert [str(file) for file in find_radiographs([tmp_path])] == films
    asked = find_radiographs([tmp_path / "outputs/age/finished"])
    assert [file.name for file in asked] == ["scatter.png"]
    put(tmp_path / "site/metrics.json")  # alone it is no sign of a run
    put_images(tmp_path / "site", [3])
    put_images(tmp_path / "explained", ["hand_000"])
    put_images(tmp_path / "arrays", ["000_000", "000_001"])  # patient and image
    put(tmp_path / "arrays/000_000.npy")
    assert len(find_radiographs([tmp_path])) == 6


def test_images_of_predicted_radiographs_are_left_out_also_through_links(tmp_path):
    out = tmp_path / "out"
    (out / "pictures").mkdir(parents=True)
    (out / "predictions.csv").touch()
    films = tmp_path / "films"
    (films / "pictures").mkdir(parents=True)  # without predictions next to it
    for file in (out / "pictures/a.png", out / "b.png", films / "pictures/c.png", films / "d.png"):
        file.touch()
    (films / "linked.png").symlink_to(out / "pictures/a.png")
    (films / "kept.png").symlink_to(out / "b.png")
    names = [file.name for file in find_radiographs([tmp_path])]
    assert names == ["d.png", "kept.png", "c.png", "b.png"]
    (films / "folder").symlink_to(out / "pictures")
    assert [file.name for file in find_radiographs([films])] == ["d.png", "kept.png", "c.png"]
