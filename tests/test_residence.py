"""Radiographs in the device's memory: the batches and the augmentation of host loading."""

import albumentations as A
import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from boneage.data.batch_augment import Affine, BatchAugment, BrightnessContrast, Flip
from boneage.data.module import BoneAgeDataModule
from boneage.data.phantom.exposure import expose
from boneage.data.resident import ResidentBatches
from boneage.data.sampler import EpochSampler, RankBatches
from boneage.errors import UserError
from boneage.run.experiment import train
from boneage.stages import Stages

SIZE = 64
REPORT = A.Compose([A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=1.0)])
AFFINE = A.Affine(
    rotate=(-15, 20), translate_percent=(-0.06, 0.1), scale=(0.9, 1.2), shear=(-5, 8), p=1.0
)


@pytest.fixture(scope="module")
def radiograph():
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 3)


def albumentations_parameters(transform, image, n):
    """Draw n times what albumentations would apply."""
    transform.set_random_seed(0)
    shape = {"shape": image.shape}
    return [transform.get_params_dependent_on_data(shape, {"image": image}) for _ in range(n)]


def as_values(drawn):
    """Return albumentations' parameters in the form of this project."""
    if "alpha" in drawn:
        return [drawn["alpha"], drawn["beta"]]
    to_pixels = np.array([[SIZE / 2, 0, SIZE / 2 - 0.5], [0, SIZE / 2, SIZE / 2 - 0.5], [0, 0, 1]])
    inverse = np.linalg.inv(to_pixels) @ np.linalg.inv(drawn["matrix"]) @ to_pixels
    return inverse[:2].ravel().tolist()


@pytest.mark.parametrize(
    ("ours", "transform", "tolerance"),
    [
        (BrightnessContrast, A.RandomBrightnessContrast(0.5, 0.5, p=1.0), 0),
        (Affine, AFFINE, 4),  # OpenCV rounds places to 1/32 of a pixel
    ],
)
def test_same_parameters_same_pixels(radiograph, ours, transform, tolerance):
    drawn = albumentations_parameters(transform, radiograph, 20)
    batch = torch.from_numpy(radiograph).expand(20, 1, SIZE, SIZE)
    values = torch.tensor([as_values(d) for d in drawn], dtype=torch.float32)
    found = ours(transform).apply(batch, values)[:, 0].numpy().astype(int)
    expected = np.stack([transform.apply(radiograph, **d) for d in drawn]).astype(int)
    assert np.abs(found - expected).max() <= tolerance
    assert np.abs(found - expected).mean() < 0.3 * (tolerance > 0) + 1e-9
    assert found.std(axis=0).max() > 10  # and they were different from each other


def test_flip(radiograph):
    batch = torch.from_numpy(radiograph).expand(2, 1, SIZE, SIZE)
    plain, flipped = Flip(A.HorizontalFlip()).apply(batch, torch.tensor([[0.0], [1.0]]))[:, 0]
    assert np.array_equal(plain, radiograph)
    assert np.array_equal(flipped, radiograph[:, ::-1])


@pytest.mark.parametrize(
    ("ours", "transform"),
    [
        (BrightnessContrast, A.RandomBrightnessContrast((-0.1, 0.3), (-0.2, 0.4), p=1.0)),
        (Affine, AFFINE),
        (Affine, A.Affine(translate_px=(-3, 5), scale=(0.8, 1.0), keep_ratio=True, p=1.0)),
    ],
)
def test_moments_of_the_parameters(radiograph, ours, transform):
    drawn = albumentations_parameters(transform, radiograph, 4_000)
    theirs = np.array([as_values(d) for d in drawn])
    mine = ours(transform).draw(40_000, SIZE, np.random.default_rng(0))
    error = theirs.std(0) / np.sqrt(4_000) + 1e-6
    assert (np.abs(mine.mean(0) - theirs.mean(0)) < 4.5 * error).all()
    np.testing.assert_allclose(mine.std(0), theirs.std(0), rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(np.cov(mine.T), np.cov(theirs.T), atol=0.05 * theirs.var(0).max())


def test_moments_of_the_pixels():
    image = expose(12.0, "female", SIZE, np.random.default_rng(1)).image
    image = cv2.resize(image, (SIZE, SIZE))
    pipeline = A.Compose([A.HorizontalFlip(p=0.3), AFFINE, A.RandomBrightnessContrast(p=0.8)])
    pipeline.set_random_seed(0)
    theirs = np.stack([pipeline(image=image)["image"] for _ in range(3_000)]).astype(float)
    ours = BatchAugment(pipeline)
    drawn = ours.draw(3_000, SIZE, np.random.default_rng(0))
    mine = ours(torch.from_numpy(image).expand(3_000, 1, SIZE, SIZE), drawn)[:, 0].double().numpy()
    error = np.sqrt((theirs.var(0) + mine.var(0)) / 3_000)
    assert (np.abs(mine.mean(0) - theirs.mean(0)) < 5 * error + 0.5).all()
    np.testing.assert_allclose(mine.std(0).mean(), theirs.std(0).mean(), rtol=0.02)


def test_a_share_is_left_alone():
    flips = Flip(A.HorizontalFlip(p=0.2)).draw(10_000, SIZE, np.random.default_rng(0))
    assert 0.18 < flips.mean() < 0.22
    seldom = A.RandomBrightnessContrast(p=0.25)
    values = BrightnessContrast(seldom).draw(10_000, SIZE, np.random.default_rng(0))
    assert 0.73 < (values == [1, 0]).all(1).mean() < 0.77
    values = Affine(A.Affine(rotate=(5, 9), p=0.25)).draw(10_000, SIZE, np.random.default_rng(0))
    assert 0.73 < (values == [1, 0, 0, 0, 1, 0]).all(1).mean() < 0.77


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (A.Compose([A.VerticalFlip()]), "VerticalFlip is not available on the device"),
        (A.Compose([A.Affine(fit_output=True)]), "Affine with fit_output=True is not available"),
        (A.Compose([A.RandomBrightnessContrast(brightness_by_max=False)]), "brightness_by_max"),
        (A.Compose([A.HorizontalFlip()], p=0.5), "augment.p=0.5: must be 1"),
    ],
)
def test_what_has_no_counterpart_is_refused(augment, message):
    with pytest.raises(UserError, match=message):
        BatchAugment(augment)


def make_data(root, residence, augment=None, **options):
    data = BoneAgeDataModule(
        root, Stages(), size=32, batch_size=5, residence=residence, augment=augment, **options
    )
    data.setup("fit")
    return data


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_same_batches_as_on_the_host(phantom_root, sampling):
    host, device = (make_data(phantom_root, r, sampling=sampling) for r in ("host", "device"))
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loaders = getattr(host, name)(), getattr(device, name)()
        assert len(loaders[0]) == len(loaders[1])
        for expected, found in zip(*loaders, strict=True):
            for key in expected:
                assert torch.equal(expected[key], found[key]), key
                assert expected[key].dtype == found[key].dtype


def batches_of(order, n=40):
    image = torch.full((n, 1, 8, 8), 100, dtype=torch.uint8)
    table = pd.DataFrame({"cache_row": range(n), "age_months": 60.0, "sex": "male"})
    loader = ResidentBatches(table, image, order, BatchAugment(REPORT), seed=3)
    return {int(i): im for b in loader for i, im in zip(b["index"], b["image"], strict=True)}


def test_processes_share_the_augmentation_of_one():
    sampler = EpochSampler(40, 3, lambda: 2)
    alone = batches_of(RankBatches(sampler, 40, 0, 1))
    shared = [batches_of(RankBatches(sampler, 6, rank, 2)) for rank in (0, 1)]
    together = shared[0] | shared[1]
    assert alone.keys() == together.keys()
    assert all(torch.equal(alone[i], together[i]) for i in alone)
    assert len({int(image[0, 0, 0]) for image in alone.values()}) > 15


def test_epochs_and_seeds_differ():
    first, second = (batches_of(RankBatches(EpochSampler(40, 3, lambda e=e: e), 40, 0, 1))
                     for e in (0, 1))  # fmt: skip
    assert any(not torch.equal(first[i], second[i]) for i in first)


def test_training_on_the_device(configure, tmp_path):
    """Without augmentation the numbers are those of host loading; with it they repeat."""
    plain = [train(configure("augment=none", f"data.residence={r}", run=r))["test"]
             for r in ("host", "device")]  # fmt: skip
    assert plain[0] == plain[1]
    device = ["augment=geometric", "data.residence=device", "trainer.max_epochs=2"]
    once, again = (train(configure(*device, run=r))["test"] for r in ("once", "again"))
    assert once == again
    assert once != plain[0]


@pytest.mark.parametrize("debug", ["fast", "limit", "overfit"])
def test_debug_modes(configure, debug):
    cfg = configure(f"debug={debug}", "data.residence=device", "trainer.max_epochs=2")
    assert train(cfg)["n"]["train"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_draws_and_changes_as_the_cpu(radiograph):
    augment = BatchAugment(A.Compose([A.HorizontalFlip(), AFFINE, A.RandomBrightnessContrast()]))
    drawn = augment.draw(64, SIZE, np.random.default_rng(0))
    batch = torch.from_numpy(radiograph).expand(64, 1, SIZE, SIZE)
    on_gpu = augment(batch.cuda(), [values.cuda() for values in drawn]).cpu()
    assert (on_gpu.int() - augment(batch, drawn).int()).abs().max() <= 2
