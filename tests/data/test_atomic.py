"""Files and folders that are complete or as they were."""

import pytest

from boneage.data.atomic import atomic_file, atomic_folder


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


def test_a_folder_stays_as_it_was_after_an_error(tmp_path):
    folder = tmp_path / "a"
    with atomic_folder(folder) as new:
        (new / "1").write_text("old")
    with pytest.raises(ValueError, match="half"), atomic_folder(folder) as new:
        raise ValueError("half written")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "1"]
