"""A user's program, which mypy checks against the types of the package (`make check`)."""

from pathlib import Path

import numpy as np
import pandas as pd

from boneage import Predictor

predictor = Predictor("model.onnx")
age: float | None = predictor("hand.png", sex="F", age_years=9).age_years
flags = predictor(np.zeros((64, 64), np.uint8)).flags
names: list[str] = ["a.png", "b.png"]
paths: list[Path] = [Path(name) for name in names]
table = pd.DataFrame({"sex": ["F", "M"], "age": [9.5, 10.0]})
for given in (names, paths):
    for answer in predictor(given, sex=table["sex"], age_years=table["age"]):
        print(answer.age_text)
first = predictor(("a.png", paths[0]), sex=["F", None])[0].age_years
years = predictor("hand.png").age_month  # type: ignore[attr-defined]
predictor(3)  # type: ignore[call-overload]
