"""Read an exported ONNX file as a checkpoint: only its weights, nothing is executed."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boneage.errors import UserError, install
from boneage.run.checkpoint_file import IntactCheckpoint
from boneage.run.record_schema import checked_record
from boneage.uncertainty.calibration import Site
from boneage.weights import CONTRACT_SCHEMA, KEY, SITE_KEY

NOVELTY_PREFIX = "novelty."


def read_exported(path: Path) -> dict[str, Any]:
    """Return `boneage` and `state_dict` of a file of `boneage export`, as from a checkpoint.

    The record's radiographs have only ids and folds: ages are NaN, sexes unknown.

    Raises:
        UserError: if it cannot be read, another program or a newer version wrote it, or the package
            onnx is missing.
    """
    if find_spec("onnx") is None:
        raise UserError(f"{path} cannot be read: {install('export')}")
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
        arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    except OSError as error:
        raise UserError(f"{path} cannot be loaded: {error.strerror}") from error
    except Exception as error:  # a damaged file can raise anything
        raise UserError(
            f"{path} cannot be loaded: it is not a complete ONNX file; copy it again"
        ) from error
    metadata = {item.key: item.value for item in model.metadata_props}
    if KEY not in metadata:
        raise UserError(
            f"{path} is not a boneage model: it lacks the metadata that boneage export writes"
        )
    try:
        terms = json.loads(metadata[KEY])
        if int(terms.get("schema", 0)) > CONTRACT_SCHEMA:
            raise IntactCheckpoint("a newer version of boneage wrote it: update boneage")
        record = checked_record(_record(terms))
        weights = {name: _tensor(values) for name, values in arrays.items()}
        weights |= {name: torch.tensor(value) for name, value in terms["beside"].items()}
        if SITE_KEY in metadata:
            record["calibration"]["site"] = Site.of(json.loads(metadata[SITE_KEY])).plain()
    except UserError as error:
        raise type(error)(f"{path} cannot be used: {error}") from error
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} cannot be used: an older version of boneage, or another program, wrote it; "
            "export the run again"
        ) from error
    novelty = {
        k.removeprefix(NOVELTY_PREFIX): v
        for k, v in weights.items()
        if k.startswith(NOVELTY_PREFIX)
    }
    if novelty:
        scalars = {name: float(novelty[name]) for name in ("rest", "limit")}
        record["calibration"]["novelty"] = novelty | scalars
    own = {name: values for name, values in weights.items() if name in terms["state_dict"]}
    return {"boneage": record, "state_dict": own}


def _record(terms: dict[str, Any]) -> dict[str, Any]:
    fold_of = {  # the train list includes the validation radiographs of an earlier training
        id_: fold for fold in ("train", "val") for id_ in terms["radiographs"][fold]
    }
    return {
        "config": terms["module"],
        "options": {f"data.{name}": value for name, value in terms["preprocessing"].items()},
        "config_text": "",
        "preprocessing": terms["preprocessing"],
        "preprocessing_version": terms["preprocessing_version"],
        "split": {
            "id": list(fold_of),
            "age_months": [float("nan")] * len(fold_of),
            "sex": ["unknown"] * len(fold_of),
            "fold": list(fold_of.values()),
        },
        "calibration": dict(terms["calibration"]),
        "terms": {name: terms[name] for name in ("licence", "citation")},
    }


def _tensor(values: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(values.copy())
    return tensor.float() if tensor.dtype == torch.float16 else tensor
