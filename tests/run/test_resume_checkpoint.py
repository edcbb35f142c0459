"""A checkpoint is resumed only with the readings and the options of its run."""

import pandas as pd
import pytest

from boneage.errors import UserError
from boneage.run.checkpoint import changed_fold, resume_record

SPLIT = {
    "id": ["a", "b", "c"],
    "age_months": [60.0, 72.0, float("nan")],
    "sex": ["female", "male", "unknown"],
    "fold": ["train", "train", "val"],
}


@pytest.mark.parametrize(
    ("column", "values", "fold"),
    [
        ("id", ["b", "a", "c"], "train"),  # the order is part of a training
        ("age_months", [60.0, 73.0, 90.0], "train"),
        ("age_months", [60.001, 72.0, 90.0], None),
        ("age_months", [60.0, None, None], None),
        ("sex", ["female", "female", "unknown"], "train"),
        ("sex", ["unknown", "male", "female"], None),
        ("fold", ["train", "train", "test"], "val"),
    ],
)
def test_a_fold_with_other_readings_has_changed(column, values, fold):
    table = pd.DataFrame(SPLIT).assign(**{column: values})
    assert changed_fold({"split": SPLIT}, table) == fold


def test_a_record_without_sexes_is_compared_by_the_rest():
    older = {name: values for name, values in SPLIT.items() if name != "sex"}
    table = pd.DataFrame(SPLIT)
    assert changed_fold({"split": older}, table) is None
    assert changed_fold({"split": older}, table.assign(age_months=1.0)) == "train"


def test_a_training_is_not_resumed_with_other_readings(tmp_path):
    record = {"split": SPLIT | {"age_months": [61.0, 72.0, 90.0]}}
    with pytest.raises(UserError, match="its train fold had other radiographs or readings"):
        resume_record({"boneage": {"split": SPLIT}}, record, tmp_path)
