"""Types of the options that no constructor checks, or not well enough."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from boneage.evaluation.reference import Reference

Seed = Annotated[int, Field(ge=0, lt=2**32)]
# others give the weights another type than the images; 32 is a short name of 32-true
Precision = Literal["32-true", 32, "bf16-mixed", "16-mixed"]
TOP_LEVEL = {
    "seed": Seed,
    "train": bool,
    "ckpt_path": str | None,
    "start_from": str | None,
    "resume": Literal["auto"] | None,
    "mirror_test": bool,
    "precision": Precision,
    "compile": bool,
    "report": bool,
    "monitor": str,
    "mode": Literal["min", "max"],
    "name": str,
    "readers_margin": Annotated[float, Field(ge=0, allow_inf_nan=False)],
    "tasks": dict[str, dict[str, Any]],
    "stages": dict[str, Any],
    "callbacks": dict[str, Any],
    "logger": dict[str, Any],
    "reference": Reference | None,
}
STRICTER_FOR = ("torch.", "lightning.", "boneage.callbacks.")  # not for a user's own classes
STRICTER = {  # than these constructors, whose values may fail or mislead later
    "trainer.precision": Precision,
    "trainer.accumulate_grad_batches": PositiveInt,
    "trainer.check_val_every_n_epoch": PositiveInt | None,
    "trainer.val_check_interval": PositiveInt | Annotated[float, Field(gt=0, le=1)] | None,
    "trainer.gradient_clip_val": NonNegativeFloat | None,
    "trainer.log_every_n_steps": NonNegativeInt,
    "trainer.min_epochs": NonNegativeInt | None,
    "trainer.max_time": str | dict[str, int] | None,
    "optimizer.lr": NonNegativeFloat,
    "optimizer.weight_decay": NonNegativeFloat,
    "loss.beta": NonNegativeFloat,
    "loss.delta": PositiveFloat,
    "callbacks.early_stopping.patience": NonNegativeInt,
}
