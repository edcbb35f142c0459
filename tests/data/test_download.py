"""Getting the official archives from a server that is not always well."""

import http.server
import io
import json
import shutil
import stat
import threading
import zipfile

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from boneage.cli.datasets import download as command
from boneage.cli.main import app
from boneage.data import fetch, file_facts
from boneage.data.fetch import unpack
from boneage.data.official import OFFICIAL_COUNTS, download
from boneage.data.phantom import write_phantom
from boneage.errors import UserError
from boneage.weights import sha256


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; one of `faults` a request: bytes before a cut, a status, or a length."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.asked, self.version = {}, [], [], '"1"'

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        kind, fault = server.faults.pop(0) if server.faults else (None, None)
        if kind == "status":
            return self.send_error(fault)
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            return self.send_error(404)
        start = 0
        if wanted and self.headers.get("If-Range") == server.version:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        length = fault if kind == "length" else str(len(content) - start)
        self.send_header("Content-Length", length)
        self.send_header("ETag", server.version)
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[:fault] if kind == "cut" else body)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def zipped(files, **attributes):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            for key, value in attributes.items():
                setattr(member, key, value)
            archive.writestr(member, content)
    return buffer.getvalue()


@pytest.fixture
def official(tmp_path, server):
    """The four archives, as the official ones are built, with 12 + 6 + 4 phantom radiographs."""
    root = write_phantom(tmp_path / "phantom", n=22, size=32, seed=0)
    table = pd.read_csv(next(root.glob("*.csv")), dtype={"id": str})
    images = {path.stem: path.read_bytes() for path in root.rglob("*.png")}
    train, val, test = table[:12], table[12:18], table[18:]
    xlsx = io.BytesIO()
    test.assign(Sex=test["male"].map({True: "M", False: "F"})).rename(
        columns={"id": "Case ID", "boneage": "Ground truth bone age (months)"}
    )[["Case ID", "Sex", "Ground truth bone age (months)"]].to_excel(xlsx, index=False)
    val_table = val.rename(columns={"id": "Image ID", "boneage": "Bone Age (months)"})
    halves = {
        f"Bone Age Validation Set/boneage-validation-dataset-{i}.zip": zipped(
            {f"boneage-validation-dataset-{i}/{id_}.png": images[id_] for id_ in part["id"]}
        )
        for i, part in ((1, val[:4]), (2, val[4:]))
    }
    server.files = {
        "Bone+Age+Training+Set+Annotations.zip": zipped(
            {"train.csv": train[["id", "boneage", "male"]].to_csv(index=False)}
        ),
        "Bone+Age+Training+Set.zip": zipped(
            {f"boneage-training-dataset/{id_}.png": images[id_] for id_ in train["id"]}
            | {"__MACOSX/boneage-training-dataset/._1.png": b"x", "boneage-training-dataset/": b""}
        ),
        "Bone+Age+Validation+Set.zip": zipped(
            halves
            | {
                "Bone Age Validation Set/Validation Dataset.csv": val_table[
                    ["Image ID", "male", "Bone Age (months)"]
                ].to_csv(index=False)
            }
        ),
        "Bone+Age+Test+Set.zip": zipped(
            {f"Bone Age Test Set/Test Set Images/{id_}.png": images[id_] for id_ in test["id"]}
            | {"Bone Age Test Set/Bone age ground truth.xlsx": xlsx.getvalue()}
        ),
    }
    return server


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


ALL = ("train", "validation", "test")


def test_all_parts_make_a_data_root(official, tmp_path, monkeypatch):
    from boneage.data.layouts import read_source

    root = tmp_path / "rsna"
    download(root, ALL, official.base)
    table = read_source(root)
    assert table["origin"].value_counts().to_dict() == {"train": 12, "val": 6, "test": 4}
    phantom = pd.read_csv(next((tmp_path / "phantom").glob("*.csv")), dtype={"id": str})
    assert dict(zip(table["id"], table["age_months"], strict=True)) == dict(
        zip(phantom["id"], phantom["boneage"], strict=True)
    )
    assert not list(root.glob("*.zip")) + list(root.rglob("*.part")) + list(root.rglob("*.tag"))
    assert not list(root.rglob("__MACOSX"))
    said = run("verify", root).output
    assert "train            12 of  12,611   12,599 missing" in said
    assert "test              4 of     200   196 missing" in said
    monkeypatch.setitem(OFFICIAL_COUNTS, "train", 12)
    assert "12 of      12   complete" in run("verify", root).output


def test_verify_names_what_has_no_counterpart(tmp_path):
    (tmp_path / "train.csv").write_text("id,boneage,male\n1378,7.5,True\n2,8,True\n3,9,True\n")
    (tmp_path / "below").mkdir()
    for name in ("01378.png", "7.png", "3.png", "below/3.png"):
        (tmp_path / name).write_bytes(b"")
    done = run("verify", tmp_path)
    said = done.output
    assert done.exit_code == 1
    assert said.splitlines()[0].split() == ["train", "2"]  # its own radiographs, not RSNA's
    assert "1 id without an image: 2\n" in said
    assert "1 image without a row: 7\n" in said
    assert "1 id with several images: 3\n" in said
    (tmp_path / "train.csv").write_text("id,boneage,male\n1378,7.5,True\n7,8,True\n3,9,True\n")
    (tmp_path / "below/3.png").unlink()
    assert run("verify", tmp_path).exit_code == 0


def test_verify_counts_images_of_one_name(tmp_path):
    (tmp_path / "labels.csv").write_text("id,boneage,male\n1,90,True\n")
    for name in ("P1/hand.png", "P2/hand.png", "1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert "2 images without a row: P1/hand, P2/hand\n" in run("verify", tmp_path).output


def test_verify_reads_a_table_with_other_column_names(tmp_path):
    (tmp_path / "mine.csv").write_text("film,years,mf\n1,7.5,M\n2,8.25,F\n")
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"no label table: .*--column .*film, years, mf"):
        run("verify", tmp_path)
    done = run("verify", tmp_path, "--column", "id=film", "--column", "age=years")
    first, *others = done.output.splitlines()
    assert first.split() == ["train", "1"]
    assert others == ["1 id without an image: 2"]  # no line for the parts that only RSNA has
    assert done.exit_code == 1


def test_verify_names_copies_of_a_file(tmp_path, caplog):
    (tmp_path / "train.csv").write_text("id,boneage\n1,7.5\n2,8\n3,9\n4,9\n5,9\n")
    for name, content in (("1", b"one"), ("2", b"two"), ("3", b"one"), ("4", b""), ("5", b"")):
        (tmp_path / f"{name}.png").write_bytes(content)
    assert run("verify", tmp_path).exit_code == 0
    assert f"{tmp_path}: 1 radiograph under different ids: 1 = 3. If copies" in caplog.text


def test_verify_names_a_few_of_many_copies_and_reads_only_what_may_be_one(
    tmp_path, caplog, monkeypatch
):
    read = []
    monkeypatch.setattr(file_facts, "sha256", lambda file: read.append(file.stem) or sha256(file))
    rows = "".join(f"{i},7.5\n" for i in range(30))
    (tmp_path / "train.csv").write_text("id,boneage\n" + rows)
    for i in range(30):  # of one size: 20 differ in their beginning, 9 are copies
        beginning = str(i if i < 20 else 20).zfill(file_facts.FIRST_BYTES)
        (tmp_path / f"{i}.png").write_text(beginning + ("other end" if i == 29 else "their end"))
    assert run("verify", tmp_path).exit_code == 0
    assert sorted(read) == [str(i) for i in range(20, 30)]
    assert "1 radiograph under different ids: 20 = 21 = 22 = 23 = 24 = .... If" in caplog.text


def test_verify_counts_rsna_radiographs_without_a_manifest(tmp_path):
    ids = range(1377, 2400)
    rows = "".join(f"{id_},{50 + id_ % 100},True\n" for id_ in ids)
    (tmp_path / "train.csv").write_text("id,boneage,male\n" + rows)
    for id_ in ids:
        (tmp_path / f"{id_}.png").touch()
    done = run("verify", tmp_path)
    assert "train         1,023 of  12,611   11,588 missing" in done.output
    assert done.exit_code == 1


def test_verifying_a_file_says_so(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=r"a\.png is a file: give the folder that it is in"):
        run("verify", tmp_path / "a.png")
    (tmp_path / "a.zip").write_bytes(b"PK\3\4")
    with pytest.raises(UserError, match=r"a\.zip is a zip archive: unpack it, and give the folder"):
        run("verify", tmp_path / "a.zip")


def test_verifying_an_empty_folder_says_so(tmp_path):
    with pytest.raises(UserError, match="is an empty folder"):
        run("verify", tmp_path)


def test_manifest_is_checked_and_only_what_is_broken_comes_again(official, tmp_path):
    root = tmp_path / "rsna"
    download(root, ALL, official.base)
    noted = json.loads((root / "manifest.json").read_text())["archives"]
    known = noted["Bone+Age+Test+Set.zip"]
    assert known["size"] == len(official.files["Bone+Age+Test+Set.zip"])
    assert len(known["files"]) == 5
    official.asked.clear()
    download(root, ALL, official.base)
    assert official.asked == []
    image = next((root / "Bone Age Test Set").rglob("*.png"))
    whole = image.read_bytes()
    image.write_bytes(whole[:-1] + b"?")  # as long as before
    code = run("verify", root)
    assert code.exit_code == 1
    assert image.name in str(code.exception)
    image.write_bytes(whole[:-1])
    download(root, ALL, official.base)
    assert [path for path, _ in official.asked] == ["/Bone+Age+Test+Set.zip"]
    assert image.read_bytes() == whole


def test_cut_connections_are_gone_on_with(server, tmp_path):
    server.files["a.zip"] = content = bytes(range(256)) * 40
    server.faults = [("cut", 3000), ("status", 500), ("cut", 2000), ("cut", 0)]
    told = []
    fetch.fetch(f"{server.base}a.zip", tmp_path / "a.zip", lambda *p: told.append(p), pause=0)
    assert (tmp_path / "a.zip").read_bytes() == content
    assert [wanted for _, wanted in server.asked] == [
        None, "bytes=3000-", "bytes=3000-", "bytes=5000-", "bytes=5000-"
    ]  # fmt: skip
    assert told[-1] == (len(content), len(content))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("length", ["abc", "", "-5", "7, 7"])
def test_a_length_that_is_no_number_counts_as_unknown(server, tmp_path, length):
    server.files["a.zip"] = content = b"0123456789"
    server.faults = [("length", length)]
    told = []
    fetch.fetch(f"{server.base}a.zip", tmp_path / "a.zip", lambda *p: told.append(p), pause=0)
    assert (tmp_path / "a.zip").read_bytes() == content
    assert told[-1] == (len(content), None)


def test_a_later_call_goes_on(server, tmp_path):
    server.files["a.zip"] = content = b"0123456789" * 1000
    server.faults = [("cut", 4000), *[("status", 503)] * fetch.TRIES]
    with pytest.raises(UserError, match=r"503.*resumes from 4,000 bytes"):
        fetch.fetch(f"{server.base}a.zip", tmp_path / "a.zip", lambda *_: None, pause=0)
    server.asked.clear()
    fetch.fetch(f"{server.base}a.zip", tmp_path / "a.zip", lambda *_: None, pause=0)
    assert server.asked == [("/a.zip", "bytes=4000-")]
    assert (tmp_path / "a.zip").read_bytes() == content


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path):
    server.files["a.zip"] = b"old" * 1000
    server.faults = [("cut", 1000), *[("status", 503)] * fetch.TRIES]
    with pytest.raises(UserError, match="503"):
        fetch.fetch(f"{server.base}a.zip", tmp_path / "a.zip", lambda *_: None, pause=0)
    server.files["a.zip"], server.version = b"new" * 1000, '"2"'
    fetch.fetch(f"{server.base}a.zip", tmp_path / "a.zip", lambda *_: None, pause=0)
    assert (tmp_path / "a.zip").read_bytes() == b"new" * 1000


def test_more_than_there_is_is_fetched_anew(server, tmp_path):
    server.files["a.zip"] = b"x" * 100
    (tmp_path / "a.zip.part").write_bytes(b"y" * 200)
    (tmp_path / "a.zip.tag").write_text(server.version)
    fetch.fetch(f"{server.base}a.zip", tmp_path / "a.zip", lambda *_: None, pause=0)
    assert server.asked == [("/a.zip", "bytes=200-"), ("/a.zip", None)]
    assert (tmp_path / "a.zip").read_bytes() == b"x" * 100


def test_what_cannot_be_fetched_is_one_line(server, tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"a\.zip answers 404 .*: the file may have moved.*unpack it"
    ):
        fetch.fetch(f"{server.base}a.zip", tmp_path / "a.zip", lambda *_: None)
    assert len(server.asked) == 1
    with pytest.raises(UserError, match=r"cannot be downloaded \(.*refused"):
        fetch.fetch("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", lambda *_: None, pause=0)
    server.files["a.zip"] = b"x" * 100
    few = shutil._ntuple_diskusage(100, 90, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: few)
    with pytest.raises(UserError, match="make room"):
        fetch.fetch(f"{server.base}a.zip", tmp_path / "a.zip", lambda *_: None)
    assert list(tmp_path.iterdir()) == []


LINK = {"external_attr": (stat.S_IFLNK | 0o777) << 16}


@pytest.mark.parametrize(
    ("files", "attributes", "said"),
    [
        ({"../evil.png": b"x"}, {}, "leads out of the folder"),
        ({"a/../../evil.png": b"x"}, {}, "leads out of the folder"),
        ({"/evil.png": b"x"}, {}, "leads out of the folder"),
        ({"C:/evil.png": b"x"}, {}, "leads out of the folder"),
        ({"..\\evil.png": b"x"}, {}, "leads out of the folder"),
        ({"evil.png": b"/etc/passwd"}, LINK, "is a link"),
        ({"evil.py": b"x"}, {}, "is not one of"),
        ({"big.png": b"\0" * (1 << 20)}, {}, "far more than a radiograph"),
        ({"a.zip": zipped({"b.zip": zipped({"c.zip": b""})})}, {}, "archive in an archive in"),
        ({"a.zip": zipped({"../evil.png": b"x"})}, {}, "leads out of the folder"),
        ({".": b"x"}, {}, "leads out of the folder"),
    ],
)
def test_hostile_archives_are_refused(tmp_path, monkeypatch, files, attributes, said):
    monkeypatch.setattr("boneage.data.fetch.MAX_FILE_BYTES", 1 << 16)
    (tmp_path / "hostile.zip").write_bytes(zipped({"good.png": b"x"} | files, **attributes))
    with pytest.raises(UserError, match=said) as caught:
        unpack(tmp_path / "hostile.zip", tmp_path / "deep/out", lambda *_: None)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name or path.is_symlink()]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_bytes_in_an_archive_are_one_line(tmp_path, method):
    archive = tmp_path / "a.zip"
    content = np.random.default_rng(0).integers(0, 50, 20_000, np.uint8).tobytes()
    for damage in (0x00, 0xFF):
        with zipfile.ZipFile(archive, "w", method) as opened:
            opened.writestr("a.png", content)
        data = bytearray(archive.read_bytes())
        data[100:160] = bytes([damage]) * 60
        archive.write_bytes(data)
        with pytest.raises(UserError, match="damaged"):
            unpack(archive, tmp_path / "out", lambda *_: None)
        assert not (tmp_path / "out/a.png").exists()


@pytest.mark.parametrize(
    ("record", "at", "damage"),
    [(b"PK\1\2", 46, b"\0png"), (b"PK\1\2", 46, b"\xffpng"), (b"PK\5\6", 17, b"\x20")],
    ids=["no name", "not UTF-8", "offsets before the file"],
)
def test_a_damaged_list_of_files_in_an_archive_is_one_line(tmp_path, record, at, damage):
    data = bytearray(zipped({"ä.png": b"content"}))  # whose name is in UTF-8
    start = data.index(record) + at
    data[start : start + len(damage)] = damage
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(fetch.RefusedArchive, match=r"a\.zip is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out", lambda *_: None)


def test_what_cannot_be_written_is_one_line(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("table.csv", "id")
    (tmp_path / "out/table.csv.part").mkdir(parents=True)
    said = r"table\.csv\.part cannot be written \(Is a directory\): when this is fixed, repeat"
    with pytest.raises(UserError, match=said):
        unpack(archive, tmp_path / "out", lambda *_: None)
    said = r"a\.zip/data cannot be written \(Not a directory\): choose another folder$"
    with pytest.raises(UserError, match=said):
        download(archive / "data", [])


def test_a_hostile_or_damaged_archive_is_set_aside(official, tmp_path):
    name = "Bone+Age+Test+Set.zip"
    good, root = official.files[name], tmp_path / "rsna"
    official.files[name] = zipped({"../evil.png": b"x"})
    with pytest.raises(UserError, match="not unpacked"):
        download(root, ["test"], official.base)
    official.files[name] = good[:200]
    with pytest.raises(UserError, match="damaged"):
        download(root, ["test"], official.base)
    official.files[name] = good
    download(root, ["test"], official.base)
    assert len(list(root.rglob("*.png"))) == 4
    assert not (tmp_path / "evil.png").exists()


def test_an_archive_is_kept_if_its_files_cannot_be_written(official, tmp_path):
    root, file = tmp_path / "rsna", tmp_path / "rsna/Bone+Age+Test+Set.zip"
    blocked = root / "Bone Age Test Set"
    root.mkdir()
    blocked.touch()  # as a full disk, it is not the archive's fault
    with pytest.raises(UserError, match="when this is fixed, repeat the command"):
        download(root, ["test"], official.base)
    assert file.read_bytes() == official.files[file.name]
    blocked.unlink()
    download(root, ["test"], official.base)
    assert len(official.asked) == 1
    assert not file.exists()


def test_command_asks_for_the_terms(tmp_path, capsys):
    with pytest.raises(UserError, match="--accept-terms"):
        command(tmp_path / "rsna", parts="test")
    assert not (tmp_path / "rsna").exists()
    assert "academic research and education" in capsys.readouterr().out
    with pytest.raises(UserError, match="'tests' is not one of train, validation, test"):
        run("download", tmp_path / "rsna", "--parts", "train,tests", "--accept-terms")
