"""Every figure of a finished run, drawn from its folder."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from boneage.evaluation.figures.architecture import architecture
from boneage.evaluation.figures.failures import error_by_band
from boneage.evaluation.figures.predictions import prediction_figures
from boneage.evaluation.figures.style import styled
from boneage.evaluation.figures.training import fold_distribution, image_sheet, learning_curves
from boneage.evaluation.numbers import is_few
from boneage.evaluation.run_folder import FinishedRun
from boneage.stages import ALL, BANDS


def run_figures(run: FinishedRun) -> dict[str, Figure]:
    """Return every figure that the files of a run allow, by name."""
    figures = prediction_figures(run.predictions, run.stages)
    groups, history, split = (run.table(f"{n}.csv") for n in ("subgroups", "history", "split"))
    augmented = run.images().get("augmented")
    with styled():
        if len(groups) and (groups["metric"] == "age/mae_months").any():
            figures["error_by_band"] = _by_band(groups)
        if len(history):
            figures["learning_curves"] = learning_curves(history)
        if {"age_years", "sex"} <= set(split):
            figures["folds"] = fold_distribution(split)
        if augmented is not None:
            figures["augmented"] = image_sheet(augmented)
        if "architecture" in run.metrics:
            figures["architecture"] = architecture(run.metrics["architecture"])
    return figures


def _by_band(groups: pd.DataFrame) -> Figure:
    of_all = groups[(groups["sex"] == ALL) & (groups["band"] != ALL)]
    values = {}
    for metric in ("mae", "bias"):
        rows = of_all[of_all["metric"] == f"age/{metric}_months"].set_index("band")
        rows = rows.reindex(list(BANDS.names))
        values[metric] = rows[["value", "low", "high"]].to_numpy(float)
    number = rows.filter(["n", "patients"]).fillna(0).astype(int)
    few = [is_few(dict(row)) for _, row in number.iterrows()]
    n = number["n"].to_numpy()
    return error_by_band(list(BANDS.names), values["mae"], values["bias"], n, np.array(few))
