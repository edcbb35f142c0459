"""Radiographs in the device's memory: the batches and the augmentation of host loading."""

from itertools import combinations

import albumentations as A
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import PROJECT, compose_config
from hydra.utils import instantiate
from torch.utils.data import BatchSampler

from boneage.data.batch_augment import (
    Affine,
    BatchAugment,
    BrightnessContrast,
    Downscale,
    Gamma,
    Jpeg,
    Noise,
)
from boneage.data.dataset import ResidentBatches
from boneage.data.module import BoneAgeDataModule
from boneage.data.phantom import expose
from boneage.data.sampler import EpochSampler, RankBatches
from boneage.errors import UserError
from boneage.run.experiment import train
from boneage.stages import Stages

SIZE = 64
REPORT = A.Compose([A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=1.0)])
AFFINE = A.Affine(
    rotate=(-15, 20), translate_percent=(-0.06, 0.1), scale=(0.9, 1.2), shear=(-5, 8), p=1.0
)


AREA_AND_LINEAR = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}


def textured(size):
    """A phantom hand with some noise of its own."""
    image = expose(12.0, "female", 2 * size, np.random.default_rng(1)).image
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(2).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def radiograph():
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 3)


def albumentations_parameters(transform, image, n):
    """Draw n times what albumentations would apply."""
    transform.set_random_seed(0)
    shape, data = {"shape": image.shape}, {"image": image}
    return [
        transform.get_params() | transform.get_params_dependent_on_data(shape, data)
        for _ in range(n)
    ]


def as_values(drawn, size=SIZE):
    """Return albumentations' parameters in the form of this project."""
    if "alpha" in drawn:
        return [drawn["alpha"], drawn["beta"]]
    if "matrix" not in drawn:
        return [drawn[name] for name in ("gamma", "quality", "scale") if name in drawn]
    to_pixels = np.array([[size / 2, 0, size / 2 - 0.5], [0, size / 2, size / 2 - 0.5], [0, 0, 1]])
    inverse = np.linalg.inv(to_pixels) @ np.linalg.inv(drawn["matrix"]) @ to_pixels
    return inverse[:2].ravel().tolist()


@pytest.mark.parametrize(
    ("ours", "transform", "largest", "mean"),
    [
        (BrightnessContrast, A.RandomBrightnessContrast(0.5, 0.5, p=1.0), 0, 0),
        (Affine, AFFINE, 4, 0.3),  # OpenCV rounds places to 1/32 of a pixel
        (Gamma, A.RandomGamma((45, 220), p=1.0), 1, 0.01),
        (Downscale, A.Downscale((0.4, 0.8), AREA_AND_LINEAR, p=1.0), 1, 0.2),
        (Jpeg, A.ImageCompression("jpeg", (1, 100), p=1.0), 255, 0.15),  # libjpeg has no floats
    ],
)
@pytest.mark.parametrize("size", [64, 50])
def test_same_parameters_same_pixels(ours, transform, largest, mean, size):
    image = textured(size)
    drawn = albumentations_parameters(transform, image, 60)
    batch = torch.from_numpy(image).expand(60, 1, size, size)
    values = torch.tensor([as_values(d, size) for d in drawn], dtype=torch.float32)
    found = ours(transform).apply(batch, values)[:, 0].numpy().astype(int)
    expected = np.stack([transform.apply(image, **d) for d in drawn]).astype(int)
    assert np.abs(found - expected).max() <= largest
    assert np.abs(found - expected).mean() <= mean
    assert found.std(axis=0).max() > 5  # and they were different from each other


def test_most_pixels_are_exactly_those_of_a_jpeg_file():
    image = textured(128)
    quality = np.arange(25, 81)
    batch = torch.from_numpy(image).expand(len(quality), 1, 128, 128)
    values = torch.from_numpy(quality).float()[:, None]
    found = Jpeg(A.ImageCompression()).apply(batch, values)[:, 0].numpy().astype(int)
    for stored, q in zip(found, quality, strict=True):
        _, content = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, int(q)))
        expected = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE).astype(int)
        assert (np.abs(stored - expected) <= 1).mean() > 0.95
        assert np.abs(stored - expected).mean() < 0.06 * np.abs(expected - image).mean()


def test_flip(radiograph):
    augment = BatchAugment(A.Compose([A.HorizontalFlip()]))
    batch = torch.from_numpy(radiograph).expand(2, 1, SIZE, SIZE)
    plain, flipped = augment(batch, [torch.tensor([[0.0], [1.0]])])[:, 0]
    assert np.array_equal(plain, radiograph)
    assert np.array_equal(flipped, radiograph[:, ::-1])


def test_noise_is_normal_and_independent():
    """No counterpart can draw the same noise: its distribution is what must be right."""
    number = torch.arange(200.0)
    values = torch.stack([torch.zeros(200), torch.full((200,), 10.0), number], 1)
    grey = torch.full((200, 1, SIZE, SIZE), 128, dtype=torch.uint8)
    noise = Noise(A.GaussNoise()).apply(grey, values)[:, 0].numpy() - 127.5  # decimals are cut
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(np.hypot(10, 12**-0.5), rel=0.005)
    assert np.percentile(noise, 97.72) == pytest.approx(20, abs=0.6)
    assert ((noise / noise.std()) ** 4).mean() == pytest.approx(3, abs=0.05)
    correlated = np.corrcoef(noise.reshape(200, -1))[np.triu_indices(200, 1)]
    assert np.abs(correlated).max() < 5 / SIZE
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean(), (noise[:, 1:] * noise[:, :-1]).mean()
    assert np.abs(neighbours).max() < 0.5
    again = Noise(A.GaussNoise()).apply(grey[:1], values[7:8])
    assert np.array_equal(again[0, 0] - 127.5, noise[7])


@pytest.mark.parametrize(
    ("ours", "transform"),
    [
        (BrightnessContrast, A.RandomBrightnessContrast((-0.1, 0.3), (-0.2, 0.4), p=1.0)),
        (Affine, AFFINE),
        (Affine, A.Affine(translate_px=(-3, 5), scale=(0.8, 1.0), keep_ratio=True, p=1.0)),
        (Gamma, A.RandomGamma((45, 220), p=1.0)),
        (Jpeg, A.ImageCompression("jpeg", (25, 28), p=1.0)),
        (Downscale, A.Downscale((0.4, 0.8), AREA_AND_LINEAR, p=1.0)),
    ],
)
def test_moments_of_the_parameters(radiograph, ours, transform):
    drawn = albumentations_parameters(transform, radiograph, 4_000)
    theirs = np.array([as_values(d) for d in drawn])
    mine = np.asarray(ours(transform).draw(40_000, SIZE, np.random.default_rng(0)), float)
    error = theirs.std(0) / np.sqrt(4_000) + 1e-6
    assert (np.abs(mine.mean(0) - theirs.mean(0)) < 4.5 * error).all()
    np.testing.assert_allclose(mine.std(0), theirs.std(0), rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(np.cov(mine.T), np.cov(theirs.T), atol=0.05 * theirs.var(0).max())


CONFIGURED = [path.stem for path in (PROJECT / "conf/augment").glob("*.yaml")]
PIPELINES = {
    "geometry": A.Compose([A.HorizontalFlip(p=0.3), AFFINE, A.RandomBrightnessContrast(p=0.8)]),
    "noise": A.Compose([A.GaussNoise((0.01, 0.1), mean_range=(-0.1, 0.2), p=0.7)]),
    "one of": A.Compose([A.OneOf([A.GaussNoise(p=0.2), A.RandomGamma((30, 40), p=0.6)], p=0.7)]),
    **{name: instantiate(compose_config(f"augment={name}").augment) for name in CONFIGURED},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PIPELINES)
def test_moments_of_the_pixels(name):
    """Mean and spread of every pixel, and of how grey values change from pixel to pixel."""
    image = textured(SIZE)
    pipeline = PIPELINES[name]
    pipeline.set_random_seed(0)
    n = 2_000
    theirs = np.stack([pipeline(image=image)["image"] for _ in range(n)]).astype(float)
    ours = BatchAugment(pipeline)
    drawn = ours.draw(n, SIZE, np.random.default_rng(0))
    mine = ours(torch.from_numpy(image).expand(n, 1, SIZE, SIZE), drawn)[:, 0].double().numpy()
    error = np.sqrt((theirs.var(0) + mine.var(0)) / n)
    assert (np.abs(mine.mean(0) - theirs.mean(0)) < 5 * error + 0.5).all()
    np.testing.assert_allclose(mine.std(0).mean(), theirs.std(0).mean(), rtol=0.03)
    for axis in (1, 2):
        rough = [np.abs(np.diff(images, axis=axis)).mean((1, 2)) for images in (mine, theirs)]
        error = np.sqrt((rough[0].var() + rough[1].var()) / n)
        assert abs(rough[0].mean() - rough[1].mean()) < 4.5 * error + 0.02
        np.testing.assert_allclose(rough[0].std(), rough[1].std(), rtol=0.1, atol=1e-6)


def test_limits_of_x_are_those_to_the_right():
    image = torch.zeros((1, 1, SIZE, SIZE), dtype=torch.uint8)
    image[..., 20, 40] = 255
    change = Affine(A.Affine(translate_px={"x": (3, 3), "y": (-7, -7)}, p=1.0))
    drawn = change.draw(1, SIZE, np.random.default_rng(0))
    moved = change.apply(image, torch.from_numpy(drawn).float())
    assert moved.nonzero().tolist() == [[0, 0, 13, 43]]


def test_moments_of_the_places():
    """Where a bright dot goes: mean and covariance of rows and columns."""
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[20:23, 40:43] = 255
    pipeline = instantiate(compose_config("augment=robust").augment)
    pipeline.set_random_seed(0)
    n = 2_500
    ours = BatchAugment(pipeline)
    drawn = ours.draw(n, SIZE, np.random.default_rng(0))
    both = (
        ours(torch.from_numpy(image).expand(n, 1, SIZE, SIZE), drawn)[:, 0].numpy(),
        np.stack([pipeline(image=image)["image"] for _ in range(n)]),
    )
    blurred = [np.stack([cv2.blur(one, (3, 3)) for one in images]) for images in both]
    places = [np.array(np.unravel_index(b.reshape(n, -1).argmax(1), image.shape)) for b in blurred]
    error = np.sqrt((places[0].var(1) + places[1].var(1)) / n)
    assert (np.abs(places[0].mean(1) - places[1].mean(1)) < 4.5 * error).all()
    np.testing.assert_allclose(np.cov(places[0]), np.cov(places[1]), rtol=0.06, atol=1.5)


def test_shares():
    """So many are changed, and of one of several changes each has its own weight."""
    augment = BatchAugment(
        A.Compose(
            [
                A.HorizontalFlip(p=0.2),
                A.OneOf([A.GaussNoise(p=0.2), A.ImageCompression(p=0.6)], p=0.5),
            ]
        )
    )
    flips, noise, jpeg = augment.draw(10_000, SIZE, np.random.default_rng(0))
    assert flips[:, 0].mean() == pytest.approx(0.2, abs=0.02)
    assert noise[:, 0].mean() == pytest.approx(0.125, abs=0.015)
    assert jpeg[:, 0].mean() == pytest.approx(0.375, abs=0.02)
    assert not (noise[:, 0] * jpeg[:, 0]).any()
    assert not noise[noise[:, 0] == 0].any()


def test_what_is_not_drawn_is_left_alone():
    augment = BatchAugment(A.Compose([A.ImageCompression(p=0.5), A.Affine(rotate=(5, 9), p=0.5)]))
    image = torch.from_numpy(textured(SIZE)).expand(50, 1, SIZE, SIZE)
    drawn = augment.draw(50, SIZE, np.random.default_rng(0))
    same = (augment(image, drawn) == image).flatten(1).all(1)
    assert torch.equal(same, (drawn[0][:, 0] == 0) & (drawn[1][:, 0] == 0))
    assert 0 < same.sum() < 50


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (A.Compose([A.VerticalFlip()]), "VerticalFlip is not available on the device"),
        (A.Compose([A.OneOf([A.Blur(), A.HorizontalFlip()])]), "Blur is not available"),
        (A.Compose([A.SomeOf([A.HorizontalFlip()], n=1)]), "SomeOf is not available"),
        (A.Compose([A.Affine(fit_output=True)]), "Affine with fit_output=True is not available"),
        (A.Compose([A.RandomBrightnessContrast(brightness_by_max=False)]), "brightness_by_max"),
        (A.Compose([A.Downscale()]), "Downscale with interpolation_pair=.* is not available"),
        (A.Compose([A.ImageCompression("webp")]), "compression_type=webp is not available"),
        (A.Compose([A.GaussNoise(noise_scale_factor=0.5)]), "noise_scale_factor=0.5 is not"),
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
            torch.testing.assert_close(found, expected, rtol=0, atol=0)  # and of one type


def test_a_radiograph_is_changed_alike_in_any_batch():
    augment = BatchAugment(PIPELINES["robust"])
    image = torch.from_numpy(textured(SIZE)).expand(60, 1, SIZE, SIZE)
    drawn = augment.draw(60, SIZE, np.random.default_rng(0))
    whole = augment(image, drawn)
    parts = [slice(0, 1), slice(1, 8), slice(8, 60)]
    pieces = [augment(image[part], [values[part] for values in drawn]) for part in parts]
    assert torch.equal(whole, torch.cat(pieces))


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


def test_an_empty_fold_has_no_batches():
    table = pd.DataFrame({"cache_row": [0], "age_months": [9.0], "sex": ["male"]}).iloc[1:]
    order = BatchSampler(range(len(table)), 4, False)
    assert list(ResidentBatches(table, torch.zeros(1, 1, 8, 8, dtype=torch.uint8), order)) == []


def test_epochs_and_seeds_differ():
    first, second = (batches_of(RankBatches(EpochSampler(40, 3, lambda e=e: e), 40, 0, 1))
                     for e in (0, 1))  # fmt: skip
    assert any(not torch.equal(first[i], second[i]) for i in first)


def test_the_changes_at_a_place_differ_by_epoch_and_seed():
    def drawn(seed, epoch):
        image = torch.zeros(40, 1, 8, 8, dtype=torch.uint8)
        table = pd.DataFrame({"cache_row": range(40), "age_months": 60.0, "sex": "male"})
        loader = ResidentBatches(table, image, [], BatchAugment(REPORT), seed)
        return torch.cat(loader._draw(40 * epoch + np.arange(40)), 1)

    changes = [drawn(seed, epoch) for seed in (3, 4) for epoch in (0, 1)]
    assert torch.equal(changes[1], drawn(3, 1))
    assert not any(torch.equal(*pair) for pair in combinations(changes, 2))


@pytest.mark.slow
def test_training_on_the_device(configure, tmp_path):
    """Without augmentation the numbers are those of host loading; with it they repeat."""
    plain = [train(configure("augment=none", f"data.residence={r}", run=r))["test"]
             for r in ("host", "device")]  # fmt: skip
    assert plain[0] == plain[1]
    device = ["augment=robust", "data.residence=device", "trainer.max_epochs=2"]
    once, again = (train(configure(*device, run=r))["test"] for r in ("once", "again"))
    assert once == again
    assert once != plain[0]


@pytest.mark.slow
@pytest.mark.parametrize("debug", ["fast", "limit", "overfit"])
def test_debug_modes(configure, debug):
    cfg = configure(f"debug={debug}", "data.residence=device", "trainer.max_epochs=2")
    assert train(cfg)["n"]["train"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_draws_and_changes_as_the_cpu(radiograph):
    augment = BatchAugment(instantiate(compose_config("augment=robust").augment))
    drawn = augment.draw(256, SIZE, np.random.default_rng(0))
    batch = torch.from_numpy(radiograph).expand(256, 1, SIZE, SIZE)
    difference = augment(batch.cuda(), drawn).cpu().int() - augment(batch, drawn).int()
    assert (difference.abs() <= 2).double().mean() > 0.999
