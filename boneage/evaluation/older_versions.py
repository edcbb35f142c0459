"""Convert configs and options of runs from older versions."""

from typing import Any

HEAD_TARGET = "boneage.models.heads.MLPHead"  # formerly a separate node
LOSS_NODES: dict[str, dict[str, Any]] = {  # formerly names, now config nodes
    "mse": {"_target_": "torch.nn.MSELoss"},
    "smooth_l1": {"_target_": "torch.nn.SmoothL1Loss", "beta": 0.1},
    "l1": {"_target_": "torch.nn.L1Loss"},
}


WEIGHTING = {"_target_": "boneage.models.weighting.FixedWeighting", "_partial_": True}


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
