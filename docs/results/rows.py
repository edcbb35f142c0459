"""The rows of results.md: in which table, trained with which options, built on which other."""

from pathlib import Path

from omegaconf import OmegaConf

PROJECT = Path(__file__).parents[2]
SEEDS = ["best_128", *(f"best_128_seed_{seed}" for seed in range(2, 6))]
MEMBERS = [f"best_ensemble_seed_{seed}" for seed in range(1, 6)]
STEPS = {
    "regression": [
        "paper_regression", "regression_1_residual", "regression_2_stretch", "regression_3_hand",
        "regression_4_sex", "regression_5_smooth", "regression_6_average", "regression_7_mirror",
        "regression_8_linear", "regression_9_batch", "regression_10_geometric",
        "regression_11_robust", "regression_12_distribution", "regression_13_192px",
    ],
    "classification": [
        "paper_classification", "classification_1_residual", "classification_2_weights_half",
        "classification_3_weights", "classification_3_unclipped", "classification_4_sampling",
        "classification_5_both", "classification_6_focal", "classification_7_ordinal",
        "classification_8_multitask", "classification_9_folds", "classification_10_best",
    ],
    "best": [
        "paper_regression", "paper_multitask", "scratch_shuffle", "scratch", "default", "lite0_128",
        "lite0_finer", "box", *SEEDS,
        "best_128_seeds", "best_128_long", *MEMBERS, "best_ensemble", "best_256",
    ],
}  # fmt: skip
POOLED = {  # rows that are several runs
    "best_128_seeds": SEEDS,
    "best_ensemble": MEMBERS,
    "classification_9_folds": [f"classification_9_folds_fold_{k}" for k in range(5)],
    "classification_10_best": [f"classification_10_best_fold_{k}" for k in range(5)],
}
SCRATCH = ["data=rsna", "backbone=slim_resnet", "optimizer.lr=0.0007", "trainer.max_epochs=20"]
START = "outputs/results/lite0_128"
FROM_128 = ["data=rsna", f"start_from={START}", "optimizer.lr=0.0005", "scheduler.warmup=0.1"]
UNNAMED = {  # rows without an experiment file: their options, and the row that they build on
    "scratch_shuffle": ([*SCRATCH, "data.sampling=shuffle"], "regression_11_robust"),
    "scratch": (SCRATCH, "scratch_shuffle"),
    "default": (["data=rsna"], "scratch"),
    "lite0_128": (["data=rsna", "trainer.max_epochs=20"], "default"),
    "lite0_finer": ([*FROM_128, "trainer.max_epochs=14", "backbone.enlarge=1.5"], "lite0_128"),
    "box": (["experiment=box", f"start_from={START}"], "lite0_128"),
    "best_128_seeds": (["-m", "experiment=best_128", "seed=1,2,3,4,5"], "best_128"),
    "best_128_long": (
        ["experiment=best_128", "trainer.max_epochs=50", "precision=bf16-mixed"],
        "best_128",
    ),
    "classification_3_unclipped": (
        ["experiment=classification_3_weights", "trainer.gradient_clip_val=null"],
        "classification_3_weights",
    ),
}


def overrides(row: str) -> list[str]:
    """Return the options that a row is trained with."""
    if row in UNNAMED:
        return UNNAMED[row][0]
    if row in POOLED:
        return ["-m", f"experiment={row}"]
    name, _, seed = row.partition("_seed_")
    experiment, _, fold = name.partition("_fold_")
    options = [f"experiment={experiment}"]
    options += [f"seed={seed}"] if seed else []
    options += [f"data.fold={fold}"] if fold else []
    return options


def base_of(row: str) -> str | None:
    """Return the row whose settings another starts from, else the first of its table."""
    if row in UNNAMED:
        return UNNAMED[row][1]
    experiment, _, seed = row.partition("_seed_")
    if seed and experiment not in POOLED:
        return experiment
    defaults = OmegaConf.load(PROJECT / f"conf/experiment/{experiment}.yaml")["defaults"]
    rows = {name for names in STEPS.values() for name in names}
    first = next(names[0] for names in STEPS.values() if row in names)
    base = next((str(entry) for entry in defaults if entry in rows), first)
    return None if base == row else base
