"""Whether weights can be used."""

from collections.abc import Mapping

import torch


def all_finite(weights: Mapping[str, object]) -> bool:
    """Tell whether the floating-point tensors among weights, by name, hold finite numbers only."""
    return all(
        bool(values.isfinite().all())
        for values in weights.values()
        if isinstance(values, torch.Tensor) and values.is_floating_point()
    )
