"""The schema of `metrics.json`, and the conversion of what older versions wrote."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from boneage.evaluation.metric_set import Better
from boneage.evaluation.reference import Reference

ABSENT: Any = Field(default=None)  # a key that a run may lack, but that is not null
HEAD_TARGET = "boneage.models.heads.MLPHead"  # formerly a separate node
LOSS_NODES: dict[str, dict[str, Any]] = {  # formerly names, now config nodes
    "mse": {"_target_": "torch.nn.MSELoss"},
    "smooth_l1": {"_target_": "torch.nn.SmoothL1Loss", "beta": 0.1},
    "l1": {"_target_": "torch.nn.L1Loss"},
}
WEIGHTING = {"_target_": "boneage.models.weighting.FixedWeighting", "_partial_": True}


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Interval(_Part):
    value: float | None
    low: float | None
    high: float | None


class _Result(_Interval):
    n: int
    patients: int = ABSENT


class _Share(_Result):
    count: int


class _Counts(_Part):
    train: int
    val: int
    test: int


class StageNames(_Part):
    """The stages of a run, also in the record of a checkpoint."""

    names: list[str]
    edges: list[float]


class _Described(_Part):
    label: str
    meaning: str
    unit: str
    better: Better
    headline: bool
    compared: bool = False
    curve: bool = False


class _Block(_Part):
    label: str
    shape: list[int]
    parameters: int


class _Architecture(_Part):
    input: list[int]
    backbone: list[_Block]
    sex: list[_Block]
    heads: dict[str, list[_Block]]


class _Covered(_Part):
    covered: _Result
    width_months: _Result


class _Perfect(_Part):
    one_reading: _Result
    mean_of_readings: _Result


class _OfModel(_Part):
    mae_months: _Result
    bias_months: _Result


class _Comparison(_Part):
    reader: str
    reader_mae: _Result
    model_mae: _Result
    difference: _Result
    inferior: bool | None


class _Readers(_Part):
    names: list[str]
    left_out: dict[str, int]
    margin_months: float
    agreement: dict[str, _Result]
    sd_months: _Result
    icc: _Result
    perfect_mae_months: _Perfect
    model: _OfModel = ABSENT
    comparisons: list[_Comparison] = ABSENT


class _OwnTest(_Part):
    run: str
    n: int
    shared: int
    test: dict[str, _Result]
    differences: dict[str, _Interval]


class Content(_Part):
    """The content of `metrics.json`; a run may lack what has a default."""

    task: str
    data: str
    test_set: str
    seed: int | None
    n: _Counts
    patients: int = ABSENT
    test: dict[str, _Result]
    described: dict[str, _Described] = {}
    baselines: dict[str, dict[str, _Result]]
    not_finite: dict[str, int] = {}
    train_labels: dict[str, int] = {}
    stages: StageNames
    options: dict[str, Any]
    synthetic: bool
    official: bool = False
    external: bool = False
    partial: list[str] = []
    subgroups: list[str] = []
    readers: list[str] = []
    reference: Reference | None = None
    ensemble: list[str] = ABSENT
    differing: list[str] = ABSENT
    parameters: int
    architecture: _Architecture | None = None
    epochs: int
    best_validation: float | None = None
    coverage: dict[str, _Covered] = {}
    readers_report: _Readers | None = None
    trained_on: str | None = None
    trained_on_synthetic: bool = False
    anomalies: dict[Literal["unusual", "without_hand"], _Share] = {}
    own_test: _OwnTest = ABSENT
    checkpoint_sha256: str | None = None
    device: str
    command: str | None
    started: str
    seconds: float
    images_per_second: float | None
    versions: dict[str, str]


def current_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config of a model with what older versions had no choice of."""
    return {"weighting": dict(WEIGHTING)} | config


def current_task(task: dict[str, Any]) -> dict[str, Any]:
    """Return the config of a task with the options of its head and the class of its loss."""
    current = dict(task)
    head, loss = task.get("head"), task.get("loss")
    if isinstance(head, dict) and head.get("_target_") == HEAD_TARGET:
        del current["head"]
        current |= {name: head.get(name, []) for name in ("hidden", "dropout")}
    if isinstance(loss, str) and loss in LOSS_NODES:
        current["loss"] = dict(LOSS_NODES[loss])
    return current


def current_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the flat options of a run (`boneage.run.options`) under their current names."""
    current: dict[str, Any] = {}
    for name, value in options.items():
        if name.startswith("head@") or name.endswith((".head._target_", ".head._partial_")):
            continue
        if name.startswith("tasks.") and ".head." in name:
            current[name.replace(".head.", ".")] = value
        elif name.startswith("tasks.") and name.endswith(".loss") and str(value) in LOSS_NODES:
            current |= {"loss": value, name: "${loss}"}
            current |= {f"loss.{key}": own for key, own in LOSS_NODES[value].items()}
        else:
            current[name] = value
    return current
