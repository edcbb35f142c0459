"""The numbers that the student report published, and whether they may stand beside a run's."""

import pandas as pd

LABEL = "student report"
MARK = "published, other split"
IN_YEARS = "MAE 1.235 y, RMSE 1.594 y"
# 12,600 radiographs of the RSNA training set, 128 px, four convolution blocks, no sex input
PUBLISHED = {
    "age/mae_years": 1.235,
    "age/mae_months": 12 * 1.235,
    "age/rmse_years": 1.594,
    "age/rmse_months": 12 * 1.594,
    "age/r2": 0.795,
    "stage/accuracy": 0.78,
    "stage/recall_child": 0.40,
    "stage/recall_adult": 0.00,
}
RSNA_IDS = (1377, 15612)  # of the training, validation and test sets together
ENOUGH = 1000


def looks_official(table: pd.DataFrame) -> bool:
    """Tell whether radiographs are of the RSNA 2017 data set, or a large part of it.

    Its ids are the whole numbers from 1377 to 15612; those of the phantom begin below.

    Args:
        table: one row a radiograph, with `id`.
    """
    ids = pd.to_numeric(table["id"], errors="coerce")
    return len(ids) >= ENOUGH and bool(ids.between(*RSNA_IDS).all())
