"""The predictions of a fold, gathered from processes that have every second radiograph."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, compose_config

from boneage.callbacks import predictions as module
from boneage.callbacks.predictions import Predictions
from boneage.errors import UserError
from boneage.evaluation.metrics import AGE
from boneage.run.checkpoint import build_model
from boneage.stages import Stages


def test_predictions_of_several_processes_are_in_the_order_of_the_table(monkeypatch):
    table = pd.DataFrame({"id": list("abcde"), "age_years": [2.0, 4.0, 11.0, 13.0, 19.0]})
    task = SimpleNamespace(metrics=lambda: AGE, constant=lambda train: None)
    data = SimpleNamespace(table=table, described=[], stages=Stages())
    model = SimpleNamespace(tasks={"age": task})
    monkeypatch.setattr(module, "model_and_data", lambda *_: (model, data))
    gathered = Predictions()
    for rows in ([0, 2], [4], [1, 3]):  # of the first process, then of the second
        true = table["age_years"].to_numpy()[rows]
        own = pd.DataFrame({"age_years_predicted": true + 1}, index=rows)
        gathered._batches.append((own, {"age": (np.array(rows), true, true + 1)}))
    gathered.on_validation_epoch_end(None, None)
    assert gathered.table["id"].tolist() == list("abcde")
    assert gathered.table["age_years_predicted"].tolist() == [3, 5, 12, 14, 20]
    assert gathered.table["stage"].tolist() == ["child"] * 2 + ["adolescent"] * 2 + ["adult"]
    (scored,) = gathered.tasks
    np.testing.assert_array_equal(scored.true, table["age_years"])
    np.testing.assert_array_equal(scored.predicted, table["age_years"] + 1)


@pytest.mark.parametrize("shape", [(3, 1), (1,)])  # pandas would write one number for all
def test_a_column_without_one_value_per_radiograph_is_refused(shape):
    model = build_model(compose_config(*TINY), {})
    model.tasks["age"].columns = lambda prediction: {"mine": torch.ones(shape)}
    batch = {"age_months": torch.ones(3), "index": torch.arange(3)}
    with pytest.raises(UserError, match=r"^tasks.age: mine has shape \(.*\) for 3 radiographs"):
        Predictions().on_validation_batch_end(None, model, {"age": torch.ones(3)}, batch, 0)
