"""Files and folders that are complete or as they were."""

import errno

import pytest

from boneage.data.atomic import atomic_file, atomic_folder, make_writable, write_files, writing
from boneage.errors import UserError


def test_a_file_is_replaced_when_all_has_gone_well(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("old")
    with atomic_file(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("there", [True, False])
def test_a_file_stays_as_it_was_after_an_error(tmp_path, there):
    file = tmp_path / "a.json"
    if there:
        file.write_text("old")
    with pytest.raises(ValueError, match="half"), atomic_file(file) as part:  # noqa: PT012
        part.write_text("ne")
        raise ValueError("half written")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"] * there


def test_files_are_written_together_or_not_at_all(tmp_path, monkeypatch):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    write_files({first: "old", second: b"old"})

    def full(part, content):
        with part.open("wb") as file:
            file.write(content[:1])
            if part.name.startswith("b"):
                raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(type(first), "write_bytes", full)
        with pytest.raises(OSError, match="full") as caught:
            write_files({first: "new", second: "new"})
    assert caught.value.filename == str(second)
    assert [file.read_text() for file in (first, second)] == ["old", "old"]
    write_files({first: "né\udcff", second: b"new"})
    assert [file.read_text(encoding="utf-8") for file in (first, second)] == ["né\\udcff", "new"]
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_an_error_without_a_number_is_told_too(tmp_path):
    with (
        pytest.raises(UserError, match=r"a\.npy cannot be written \(80 requested and 0 "),
        writing(tmp_path),
        atomic_file(tmp_path / "a.npy"),
    ):
        raise OSError("80 requested and 0 written")


def test_a_file_that_cannot_be_replaced_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a").touch()
    with pytest.raises(OSError, match="directory") as caught:
        write_files({tmp_path / "folder": "text"})
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "folder"), None)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_cannot_be_made(tmp_path):
    make_writable(tmp_path / "a/b")
    assert not list((tmp_path / "a/b").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"file/out cannot be written \(Not a .*choose another --out"
    ):
        make_writable(tmp_path / "file/out")


def test_a_folder_stays_as_it_was_after_an_error(tmp_path):
    folder = tmp_path / "a"
    with atomic_folder(folder) as new:
        (new / "1").write_text("old")
    with pytest.raises(ValueError, match="half"), atomic_folder(folder) as new:
        raise ValueError("half written")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "1"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "link") as new:
            (new / "1").write_text(text)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk/1").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]
