"""Batches: reproducible pixels, whatever the workers; order and balance by epoch."""

import albumentations as A
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import decode
from torch.utils.data import DataLoader

from boneage.data.dataset import SHEET_DRAWS, Radiographs, augmented_sheet, collate
from boneage.data.module import BoneAgeDataModule
from boneage.data.sampler import EpochSampler, evenly, inverse_frequency, sampling_shares
from boneage.errors import UserError
from boneage.stages import Stages


def make_data(root, **options):
    augment = A.Compose([A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=1.0)])
    data = BoneAgeDataModule(
        root, Stages(), size=32, batch_size=5, augment=augment, seed=1, **options
    )
    data.setup("fit")
    return data


def epochs(data, n=2):
    loader = data.train_dataloader()
    seen = []
    for epoch in range(n):
        loader.batch_sampler.sampler.epoch = lambda epoch=epoch: epoch
        batches = list(loader)
        order = torch.cat([b["index"] for b in batches])
        seen.append((order, torch.cat([b["image"] for b in batches])))
    return seen


@pytest.fixture(scope="module")
def alone(phantom_root):
    return epochs(make_data(phantom_root))


@pytest.mark.parametrize("workers", [1, 2])
def test_pixels_do_not_depend_on_workers(phantom_root, alone, workers):
    for (order, image), (same_order, same_image) in zip(
        alone, epochs(make_data(phantom_root, num_workers=workers)), strict=True
    ):
        assert torch.equal(order, same_order)
        assert torch.equal(image, same_image)


def test_every_epoch_has_its_own_order_and_pixels(alone):
    (first_order, first), (second_order, second) = alone
    assert not torch.equal(first_order, second_order)
    by_row = [dict(zip(order.tolist(), image, strict=True)) for order, image in alone]
    assert by_row[0].keys() == by_row[1].keys()
    assert any(not torch.equal(by_row[0][row], by_row[1][row]) for row in by_row[0])
    assert first.dtype == torch.uint8
    assert first.shape[1:] == second.shape[1:] == (1, 32, 32)


def test_radiographs_are_augmented_differently_from_each_other(tmp_path):
    import pandas as pd

    np.save(tmp_path / "images.npy", np.full((40, 16, 16), 100, np.uint8))
    table = pd.DataFrame({"cache_row": range(40), "age_months": 60.0, "sex": "male"})
    augment = A.Compose([A.RandomBrightnessContrast(contrast_limit=0, p=1.0)])
    first, again, other = (
        Radiographs(table, tmp_path / "images.npy", augment, seed).__getitems__(range(40))["image"]
        for seed in (0, 0, 1)
    )
    assert len(first[:, 0, 0, 0].unique()) > 15
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "transform", [A.Normalize(mean=0.5, std=0.2), A.ToFloat(255), A.CenterCrop(8, 8)]
)
def test_an_augmentation_that_returns_no_radiograph_is_refused(tmp_path, transform):
    """Numbers up to 1 would be stored as black pixels."""
    np.save(tmp_path / "images.npy", np.full((1, 16, 16), 100, np.uint8))
    table = pd.DataFrame({"cache_row": [0], "age_months": 60.0, "sex": "male"})
    radiographs = Radiographs(table, tmp_path / "images.npy", A.Compose([transform]))
    with pytest.raises(UserError, match=r"^augment: .* must remain uint8 of shape \(16, 16\)"):
        radiographs.__getitems__([0])


@pytest.mark.parametrize("residence", ["host", "device"])
def test_evaluation_folds_are_plain_pixels_in_table_order(phantom_root, residence):
    data = make_data(phantom_root, residence=residence)
    images = np.load(data.cache.path)
    for loader, fold in ((data.val_dataloader(), "val"), (data.test_dataloader(), "test")):
        table = data.fold_table(fold)
        batches = list(loader)
        assert torch.cat([b["index"] for b in batches]).tolist() == list(table.index)
        pixels = torch.cat([b["image"] for b in batches])[:, 0].numpy()
        assert np.array_equal(pixels, images[table["cache_row"]])
        months = torch.cat([b["age_months"] for b in batches])
        assert months.tolist() == table["age_months"].tolist()


def test_radiographs_after_an_unreadable_one_keep_their_own_pixels(own_root, tmp_path):
    sorted(own_root.rglob("*.png"))[3].write_bytes(b"no image")
    data = make_data(own_root, unreadable="drop", cache_dir=tmp_path)
    assert len(data.table) == 23
    expected = [decode(path, data.preprocessing) for path in data.table["path"]]
    assert np.array_equal(data.images_of(data.table.index), expected)


def test_the_seed_of_training_draws_the_changes(phantom_root):
    for residence in ("host", "device"):
        loader = make_data(phantom_root, residence=residence).train_dataloader()
        assert getattr(loader, "dataset", loader).seed == 1


@pytest.mark.parametrize(
    ("n", "at_most", "places"),
    [(11, 3, [0, 5, 10]), (9, 5, [0, 2, 4, 6, 8]), (3, 8, [0, 1, 2]), (5, 1, [0]), (0, 4, [])],
)
def test_places_at_equal_distances(n, at_most, places):
    assert evenly(n, at_most).tolist() == places


def test_sampler_visits_everyone_once():
    sampler = EpochSampler(100, seed=3, epoch=lambda: 4)
    pairs = list(sampler)
    assert [draw for draw, _ in pairs] == list(range(400, 500))
    assert sorted(position for _, position in pairs) == list(range(100))
    other = EpochSampler(100, seed=4, epoch=lambda: 3)  # of the same sum
    assert [position for _, position in other] != [position for _, position in pairs]


def test_balanced_sampler_draws_stages_equally_often():
    classes = np.array([0] * 9000 + [1] * 900 + [3] * 100)
    shares = inverse_frequency(classes, 1.0)
    sampler = EpochSampler(10_000, seed=0, epoch=lambda: 0, shares=shares)
    drawn = [position for _, position in sampler]
    counts = np.bincount(classes[drawn], minlength=4)
    assert counts[2] == 0
    np.testing.assert_allclose(counts[[0, 1, 3]], 10_000 / 3, atol=1)
    times = np.bincount(drawn, minlength=10_000)  # a third of the draws: 0.37, 3.7 and 33.3 times
    assert set(times[:9000]) == {0, 1}
    assert set(times[9000:9900]) == {3, 4}
    assert set(times[9900:]) == {33, 34}
    assert list(sampler) == list(sampler)
    again = EpochSampler(10_000, seed=0, epoch=lambda: 1, shares=shares)
    assert [p for _, p in again] != [p for _, p in sampler]


def test_shares_of_groups_by_hand():
    shares = inverse_frequency(np.array(["a", "b", "a", "a", "a"]), 0.5)
    assert shares.tolist() == [0.5, 1.0, 0.5, 0.5, 0.5]


def test_ages_are_drawn_more_evenly_within_each_sex(phantom_root):
    data = make_data(phantom_root, sampling="ages")
    table = data.fold_table("train")
    drawn = np.concatenate([batch["index"].numpy() for batch in data.train_dataloader()])
    sizes = table.groupby(["sex", table["age_years"].astype(int)])["sex"].transform("size")
    roots = (sizes**-0.5).sum()
    for size in sizes.unique():
        expected = len(table) * (sizes == size).sum() * size**-0.5 / roots
        assert abs(sizes[drawn].eq(size).sum() - expected) <= 1
    assert sizes.nunique() > 1


def test_shares_of_ages_by_hand():
    """Four girls of 5 years, a boy of 5 and a girl of 6: one over the root of 4, 1 and 1."""
    ages, sexes = [5.0, 5.9, 5.5, 5.2, 5.3, 6.0], [*4 * ["female"], "male", "female"]
    table = pd.DataFrame({"age_years": ages, "sex": sexes})
    np.testing.assert_allclose(sampling_shares(table, "ages", Stages()), [*4 * [0.5], 1, 1])


def test_a_radiograph_drawn_again_is_augmented_anew(phantom_root):
    data = make_data(phantom_root)
    train = data.train_radiographs()
    first, again = train.__getitems__([(0, 3), (1, 3)])["image"]
    assert not torch.equal(first, again)
    later = train.__getitems__([(7, 3)])["image"][0]
    assert not torch.equal(first, later)


def test_the_sheet_goes_from_the_youngest_to_the_oldest_plain_and_augmented(tmp_path):
    grey = np.array([10, 20, 30], np.uint8)
    np.save(tmp_path / "images.npy", np.tile(grey[:, None, None], (1, 8, 8)))
    table = pd.DataFrame({"cache_row": [2, 0, 1], "age_months": [90.0, 30.0, 60.0], "sex": "male"})
    inverted = A.Compose([A.InvertImg(p=1.0)])
    sheet = augmented_sheet(Radiographs(table, tmp_path / "images.npy", inverted))
    assert sheet.shape == (1 + SHEET_DRAWS, 3, 8, 8)
    assert sheet[:, :, 0, 0].tolist() == [grey.tolist(), *[(255 - grey).tolist()] * SHEET_DRAWS]


@pytest.mark.parametrize("option", ["sampling", "residence", "test"])
def test_a_choice_that_does_not_exist_is_refused_without_a_config(phantom_root, tmp_path, option):
    """As by the check of a config: the default would be used without a word."""
    with pytest.raises(UserError, match=rf"^data\.{option}=other: must be \w+ or "):
        make_data(phantom_root, cache_dir=tmp_path, **{option: "other"}).train_dataloader()


def test_a_plain_loader_fetches_a_fold(phantom_root, tmp_path):
    data = make_data(phantom_root, cache_dir=tmp_path)
    fold = Radiographs(data.fold_table("val"), data.cache.path)
    batches = list(DataLoader(fold, batch_size=2, collate_fn=collate))
    whole = data.images_of(data.fold_table("val").index)
    assert np.array_equal(torch.cat([b["image"] for b in batches])[:, 0].numpy(), whole)


@pytest.mark.parametrize("loading", [{"num_workers": 1}, {"residence": "device"}])
def test_other_numbers_of_the_table_are_in_the_batches(phantom_root, tmp_path, loading):
    data = make_data(phantom_root, cache_dir=tmp_path, columns={"labels": ["boneage"]}, **loading)
    for batch in data.train_dataloader():
        assert torch.equal(batch["labels"]["boneage"], batch["age_months"])
