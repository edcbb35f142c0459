"""What a step of the module logs and predicts, against the tasks themselves."""

from types import SimpleNamespace

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, compose_config
from torch.utils.data import DataLoader

from boneage.data.dataset import CachedImages
from boneage.data.tables.sexes import UNKNOWN
from boneage.errors import UserError
from boneage.models.inference import BATCH, features_of, predictor
from boneage.models.module import BoneAgeModule
from boneage.run.calibrate import calibrate, novelty_of
from boneage.run.checkpoint import build_model
from boneage.tasks.base import scalar_loss


def make_batch(n):
    months = torch.linspace(20, 220, n)
    return {
        "image": torch.randint(0, 256, (n, 1, 32, 32), dtype=torch.uint8),
        "age_months": months, "soft_age_months": months + 24,
        "sex": torch.zeros(n, dtype=torch.int64), "index": torch.arange(n),
    }  # fmt: skip


def make(*options):
    torch.manual_seed(0)
    return build_model(compose_config(*TINY, "task=multitask", *options), {})


def test_the_loss_of_a_fold_is_the_mean_of_its_radiographs_with_the_weights_of_the_tasks():
    """Of batches of 6 and 2; ages are compared with readings, not with those of a teacher."""
    model = make("tasks.age.weight=3", "tasks.stage.weight=0.25").eval()
    whole = make_batch(8)
    parts = [
        {name: values[rows] for name, values in whole.items()} for rows in (slice(6), slice(6, 8))
    ]
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    (logged,) = trainer.validate(model, DataLoader(parts, batch_size=None), verbose=False)
    with torch.no_grad():
        outputs = model(whole["image"], whole["sex"])
        own = {
            name: task.loss(outputs[name], task.encode(whole)).item()
            for name, task in model.tasks.items()
        }
    assert logged["val/age/loss"] == pytest.approx(own["age"], rel=1e-5)
    assert logged["val/loss"] == pytest.approx(3 * own["age"] + 0.25 * own["stage"], rel=1e-5)


@pytest.mark.parametrize("known", [(4, 1), (1, 4), (0, 0)])
def test_the_loss_of_a_fold_is_the_mean_of_its_radiographs_with_a_label(known):
    """Of two batches of 4, with the sex of some; of none it is 0, not NaN."""
    torch.manual_seed(0)
    model = build_model(compose_config(*TINY, "task=sex"), {}).eval()
    parts = [make_batch(4), make_batch(4)]
    for part, number in zip(parts, known, strict=True):
        part["sex"] = torch.tensor([0, 1, 1, 0]).where(torch.arange(4) < number, UNKNOWN)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    (logged,) = trainer.validate(model, DataLoader(parts, batch_size=None), verbose=False)
    with torch.no_grad():
        losses = [
            torch.nn.functional.binary_cross_entropy_with_logits(output[:, 0], sex.float())
            for part in parts
            for output, sex in zip(
                model(part["image"], part["sex"])["sex"].split(1), part["sex"].split(1), strict=True
            )
            if sex != UNKNOWN
        ]
    assert logged["val/loss"] == pytest.approx(np.mean(losses) if losses else 0, abs=1e-6)


@pytest.mark.parametrize(
    ("returned", "said"),
    [(lambda error: error, r"Tensor of shape \(4,\)"), (lambda error: 1.5, "float")],
)
def test_a_loss_that_is_not_one_number_is_refused(returned, said):
    task = make().tasks["age"]
    task.loss = lambda output, target: returned(output[:, 0] - target)
    with pytest.raises(UserError, match=f"^tasks.age: the loss is a {said}: return a Tensor"):
        scalar_loss("age", task, torch.zeros(4, 1), torch.ones(4))


@pytest.mark.parametrize("sizes", [(2, 1), (0, 1)])
def test_the_logged_mean_of_two_processes_is_exact(monkeypatch, sizes):
    """Lightning rounds the mean of their sizes down: 3 radiographs would count as 2, 1 as none."""
    given = []
    model = make()
    model._trainer = SimpleNamespace(world_size=2)
    monkeypatch.setattr(
        L.LightningModule, "log", lambda *_, batch_size, **__: given.append(batch_size)
    )
    for size in sizes:
        model.log_dict({"val/age/loss": torch.tensor(1.0)}, batch_size=size)
    assert sum(given) // 2 == sum(sizes)
    model._trainer = None  # a step on its own
    model.log_dict({"val/age/loss": torch.tensor(1.0)}, batch_size=3)


def test_test_predictions_are_those_in_use_although_training_has_mixed_precision(monkeypatch):
    model, batch = make().eval(), make_batch(4)
    monkeypatch.setattr(model, "log_dict", lambda *_, **__: None)
    with torch.no_grad():
        used, _ = model.predict(batch["image"], batch["sex"])
        with torch.autocast("cpu", torch.bfloat16):
            tested, validated = (
                step(batch, 0) for step in (model.test_step, model.validation_step)
            )
    for name in model.tasks:
        assert torch.equal(tested[name], used[name])
        assert not torch.equal(validated[name], used[name])


def test_a_calibration_has_the_ages_with_and_without_the_sex_and_the_features_of_both_folds(
    tmp_path,
):
    model = make("sex=embedding")
    model.tasks["age"].load_state_dict({"mean": torch.tensor(9.0)}, strict=False)
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32), np.uint8)
    table = pd.DataFrame({"sex": ["female", "male"] * 20, "fold": "train"})
    table.loc[30:, "fold"] = "val"
    np.save(tmp_path / "images.npy", images)
    read = []

    class Counted(CachedImages):
        def __getitem__(self, part):
            read.append(super().__getitem__(part))
            return read[-1]

    data = SimpleNamespace(
        fold_table=lambda fold: table[table["fold"] == fold],
        cached=lambda rows: Counted(tmp_path / "images.npy", rows.to_numpy()),
    )
    found = calibrate(model, data)
    assert [len(images) for images in read] == [10, 10, BATCH, 30 - BATCH]  # no fold in one piece
    model.eval()
    sexes = {"predicted_years": [0, 1] * 5, "predicted_years_sex_unknown": [2] * 10}
    with torch.no_grad():
        for name, codes in sexes.items():
            image, sex = torch.from_numpy(images[30:, None]), torch.tensor(codes)
            ages = model.tasks["age"].decode(model(image, sex)["age"])
            assert found[name] == pytest.approx(ages.tolist(), rel=1e-4)
    assert found["predicted_years"] != pytest.approx(found["predicted_years_sex_unknown"])
    novelty, features = novelty_of({"calibration": found}), features_of(model, images)
    np.testing.assert_allclose(novelty.mean, features[:30].mean(axis=0), rtol=1e-4)
    assert novelty.distance(features[30:]).max() == pytest.approx(1, rel=1e-4)


def test_a_changed_radiograph_is_asked_for_the_stage_of_the_unchanged_one():
    class Grey:
        """Two stages whose probabilities are the brightness and the rest."""

        def __init__(self):
            self.device = torch.device("cpu")
            self.tasks = {"stage": SimpleNamespace(decode=lambda output: output, unit="share")}

        def __call__(self, image, sex):
            share = image.double().mean((1, 2, 3)) / 255
            return {"stage": torch.stack([share, 1 - share], 1)}

    bright, dark = (np.full((1, 4, 4), grey, np.uint8) for grey in (204, 51))
    images = np.concatenate([bright, dark])
    predict, unit = predictor(Grey(), images, torch.zeros(2, dtype=torch.int64), "stage")
    assert predict(images) == pytest.approx([0.8, 0.8])
    assert predict(images[::-1]) == pytest.approx([0.2, 0.2])
    assert unit == "share"


def test_the_mirror_image_is_left_to_right():
    class Corner:
        """Its age is the grey value in the upper left corner."""

        mirror_test, tasks = True, ("age",)
        decode = staticmethod(lambda output: output)

        def __call__(self, image, sex):
            return {"age": image[:, 0, 0, 0].double()}

    image = torch.tensor([[[[3, 5], [7, 9]]]], dtype=torch.uint8)
    mean = BoneAgeModule.with_mirror(Corner(), Corner()(image, None), image, None)
    assert mean["age"].tolist() == [4.0]
