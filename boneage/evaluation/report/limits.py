"""What the data of a run cannot show, said from its numbers."""

import pandas as pd

from boneage.evaluation.evaluate import BEYOND_ANY_AGE
from boneage.evaluation.numbers import FEW, number
from boneage.evaluation.run_folder import FinishedRun
from boneage.stages import BANDS


def limits(run: FinishedRun) -> list[str]:
    """Return the sentences for "what these data cannot show"."""
    metrics = run.metrics
    sentences = []
    if metrics.get("synthetic"):
        sentences.append(
            "The radiographs are synthetic: these numbers say whether the software works, and "
            "nothing about patients. Never set them beside numbers of real radiographs."
        )
    for column, n in metrics.get("not_finite", {}).items():
        sentences.append(
            f"The model gave {n:,} of {metrics['n']['test']:,} radiographs no finite number "
            f"({column}): training has diverged, and the metrics of this output are left out."
        )
    sentences += _beyond_any_age(run.predictions)
    sentences += _small_stages(run)
    sentences += _small_bands(run.predictions["age_years"])
    if (run.predictions["sex"] == "unknown").any():
        n = int((run.predictions["sex"] == "unknown").sum())
        sentences.append(f"The sex of {n:,} test radiographs is unknown.")
    sentences.append(
        "The intervals cover the choice of the test radiographs. They do not cover the luck of one "
        f"training run (seed {metrics['seed']}) on one split: repeat it with other seeds and folds."
    )
    if metrics.get("official"):
        sentences.append(
            "The labels are one reading each: single readers differ from a consensus of several by "
            "5 to 7 months, so that a mean error below this cannot be told from label noise. The "
            "published values of the student report come from another split of these data."
        )
    if not metrics.get("synthetic"):
        sentences.append(
            "Training and test radiographs come from the same source: how the model does in "
            "another hospital, on other devices, or in children with disorders of growth, is open."
        )
    return sentences


def _beyond_any_age(predictions: pd.DataFrame) -> list[str]:
    if "age_years_predicted" not in predictions:
        return []
    age = predictions["age_years_predicted"].abs()
    beyond = int((age > BEYOND_ANY_AGE).sum())
    if not beyond:
        return []
    return [
        f"{beyond:,} of {len(age):,} predicted ages are beyond {BEYOND_ANY_AGE:g} years: training "
        "has diverged. The figures leave them out, the metrics do not."
    ]


def _small_stages(run: FinishedRun) -> list[str]:
    sentences = []
    for name in run.stages.names:
        recall = run.metrics["test"].get(f"stage/recall_{name}")
        if recall is None or recall["n"] >= FEW:
            continue
        if recall["n"] == 0:
            sentences.append(f"No test radiograph is {name}: its recall is unknown.")
        else:
            n = f"{recall['n']} test radiograph" + ("s are" if recall["n"] > 1 else " is")
            sentences.append(
                f"Only {n} {name}: a recall of {number(recall['value'])} is compatible with "
                f"anything from {number(recall['low'])} to {number(recall['high'])}."
            )
    return sentences


def _small_bands(age_years: pd.Series) -> list[str]:
    band = BANDS.of(age_years.to_numpy(float))
    counts = {name: int((band == i).sum()) for i, name in enumerate(BANDS.names)}
    few = [f"{name} years ({n})" for name, n in counts.items() if n < FEW]
    if not few:
        return []
    return [f"Age bands with fewer than {FEW} test radiographs: {', '.join(few)}."]
