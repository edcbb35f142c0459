"""Random input: tables, images, overrides and boxes give a result or one clean line."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import PROJECT, decode
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException

from boneage.data.decode import Geometry, Preprocessing
from boneage.data.hand import Crop
from boneage.data.tables.labels import read_labels
from boneage.errors import UserError
from boneage.explain.regions import read_boxes
from boneage.run.check import check_config

QUICK = settings(max_examples=150)
CELL = st.one_of(
    st.sampled_from(["id", "boneage", "male", "", "True", "F", "12", "-3", "nan", "1e999", "xmin"]),
    st.text(max_size=12),
    st.floats().map(str),
)
TABLE = st.lists(st.lists(CELL, max_size=5).map(",".join), max_size=6).map("\n".join)
OWN_TABLE = TABLE.map(lambda rows: f"id,boneage,male\n{rows}")
BOX_TABLE = TABLE.map(
    lambda rows: f"id,region,xmin,ymin,xmax,ymax,image_width,image_height\n{rows}"
)


def cleanly(call):
    """Return what a call gives; a user's mistake must be one line."""
    try:
        return call()
    except UserError as error:
        said = str(error)
    assert said
    assert "\n" not in said.strip()
    return None


@pytest.mark.slow
@QUICK
@example(content=b"\t")
@given(content=st.one_of(st.binary(max_size=300), TABLE.map(str.encode), OWN_TABLE.map(str.encode)))
@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_label_tables(tmp_path, content, suffix):
    path = tmp_path / f"labels.{suffix}"
    path.write_bytes(content)
    table = cleanly(lambda: read_labels(path))
    if table is not None:
        assert table["age_months"].between(0, 300).all()
        assert table["sex"].isin(["female", "male", "unknown"]).all()
        assert table["id"].is_unique


@pytest.mark.slow
@QUICK
@given(content=BOX_TABLE)
def test_box_tables(tmp_path, content):
    path = tmp_path / "boxes.csv"
    path.write_text(content)
    boxes = cleanly(lambda: read_boxes(path))
    if boxes is not None:
        assert (boxes["xmin"] < boxes["xmax"]).all()


def encoded(suffix):
    image = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    return cv2.imencode(suffix, image)[1].tobytes()


WHOLE = [encoded(suffix) for suffix in (".png", ".jpg", ".tif", ".bmp")]


@st.composite
def damaged_image(draw):
    """A real file, cut off somewhere, with some bytes changed."""
    content = bytearray(draw(st.sampled_from(WHOLE)))
    for place in draw(st.lists(st.integers(0, len(content) - 1), max_size=5)):
        content[place] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))])


@settings(QUICK, max_examples=600)
@given(content=st.one_of(st.binary(max_size=200), damaged_image()))
def test_images(tmp_path, content):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    square = cleanly(lambda: decode(path, Preprocessing(size=16)))
    if square is not None:
        assert square.shape == (16, 16)
        assert square.dtype == np.uint8


def test_an_absurd_size_is_refused_before_it_is_allocated(tmp_path):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    png += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path = tmp_path / "bomb.png"
    path.write_bytes(png)
    with pytest.raises(UserError, match=r"bomb\.png: claims an absurd size"):
        decode(path, Preprocessing(size=16))


KEY = st.sampled_from(
    ["seed", "data.size", "data.fold", "trainer.max_epochs", "optimizer.lr", "task", "backbone",
     "stages.edges", "callbacks.grad_cam.panel", "resume", "ckpt_path", "data.columns", "nothing"]
)  # fmt: skip
VALUE = st.one_of(
    st.sampled_from(["", "-1", "abc", "null", "[1,2]", "{a:1}", "1e999", "nan", "true", "???"]),
    st.text(max_size=10),
    st.integers().map(str),
)  # fmt: skip


@pytest.mark.slow
@settings(QUICK, max_examples=25)
@given(overrides=st.lists(st.tuples(KEY, VALUE).map("=".join), min_size=1, max_size=3))
def test_overrides(overrides):
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
            cfg = compose("train", overrides=overrides)
    except (
        HydraException,
        OmegaConfBaseException,
        ValueError,
    ):  # Hydra says what is wrong, in its own words
        return
    cfg.run_dir = "anywhere"
    cleanly(lambda: check_config(cfg))


def test_hostile_archives_execute_nothing(tmp_path):
    """What is read with numpy from a run folder, a cache or a phantom holds no pickles."""

    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    buffer = io.BytesIO()
    np.save(buffer, np.array([Hostile()], dtype=object), allow_pickle=True)
    (tmp_path / "images.npy").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        np.load(tmp_path / "images.npy", mmap_mode=None)
    np.savez(tmp_path / "masks.npz", carpals=np.array([Hostile()], dtype=object))
    from boneage.explain.regions import read_masks

    with pytest.raises(UserError, match="is damaged"):
        read_masks(tmp_path / "masks.npz", Geometry(20, 30, Preprocessing(size=16), Crop()))
    from boneage.run.checkpoint import read_checkpoint

    torch.save({"boneage": Hostile()}, tmp_path / "hostile.ckpt")
    with pytest.raises(UserError, match="with foreign objects"):
        read_checkpoint(tmp_path / "hostile.ckpt")
    assert not (tmp_path / "executed").exists()
