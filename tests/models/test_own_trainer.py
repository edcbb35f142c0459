"""The module and its data in a script of the user's own: Lightning, without Hydra."""

from functools import partial

import lightning as L
import pandas as pd
import pytest
import torch
from torch import nn

from boneage.data.module import BoneAgeDataModule
from boneage.errors import UserError
from boneage.models.backbones import PaperCNN
from boneage.models.module import BoneAgeModule
from boneage.models.sex import SexEmbedding
from boneage.predict.predictor import Predictor
from boneage.stages import Stages
from boneage.tasks.regression import AgeRegression


def make_model():
    return BoneAgeModule(
        PaperCNN(1, [4, 4]), SexEmbedding(2), {"age": partial(AgeRegression, loss=nn.L1Loss())},
        partial(torch.optim.Adam, lr=1e-3),
    )  # fmt: skip


def fit(model, data, folder):
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=folder, **options)
    trainer.fit(model, data)
    return trainer


@pytest.mark.slow
def test_a_trainer_of_ones_own(phantom_root, tmp_path):
    data = BoneAgeDataModule(phantom_root, Stages(), size=32, batch_size=8)
    model = make_model()
    with pytest.raises(UserError, match=r"call model\.fit_tasks\(data\.fold_table\('train'\)\)"):
        fit(model, data, tmp_path)
    data.setup("fit")
    model.fit_tasks(data.fold_table("train"))
    trainer = fit(model, data, tmp_path)
    tested = trainer.test(model, data, verbose=False)[0]
    batch = next(iter(data.test_dataloader()))
    with torch.no_grad():
        ages = model.eval().predict(batch["image"], batch["sex"])[0]["age"]
    error = (ages - batch["age_months"] / 12).abs().mean()
    assert tested["test/age/mae_years"] == pytest.approx(float(error), abs=1e-5)
    (predicted,) = trainer.predict(model, data.test_dataloader())
    assert torch.allclose(predicted["age"], ages, atol=1e-5)

    again = make_model()  # a trained model keeps its statistics
    again.load_state_dict(model.state_dict())
    fit(again, data, tmp_path)
    assert again.tasks["age"].mean == model.tasks["age"].mean != 0

    with pytest.raises(UserError, match="it was not written by this project's training"):
        Predictor(trainer.checkpoint_callback.best_model_path)


def test_data_that_are_not_read_yet_have_no_folds(tmp_path):
    data = BoneAgeDataModule(tmp_path, Stages())
    for call in (data.train_dataloader, data.val_dataloader, lambda: data.fold_table("train")):
        with pytest.raises(UserError, match=r"not read yet: call data\.setup\('fit'\) first"):
            call()
    with pytest.raises(UserError, match=r"^fold=training: must be train or val or test"):
        data.fold_table("training")
    with pytest.raises(UserError, match="the training fold has 0 radiographs of one bone age"):
        make_model().fit_tasks(pd.DataFrame({"age_years": []}))


def test_pixels_that_are_not_bytes_are_refused():
    """A float image of 0 to 1 would be divided by 255 again, in place."""
    model, sex = make_model().eval(), torch.zeros(2, dtype=torch.int64)
    image = torch.rand(2, 1, 32, 32)
    with pytest.raises(UserError, match=r"^images of type torch\.float32: give uint8 pixels"):
        model(image, sex)
    assert model((255 * image).byte(), sex)["age"].shape == (2, 1)
