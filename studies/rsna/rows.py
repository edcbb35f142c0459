"""The rows of lab_notes.md: their tables, options, and the rows they build on."""

from pathlib import Path

from omegaconf import OmegaConf

PROJECT = Path(__file__).parents[2]
PUBLISHED = {  # by the reference study
    str(metric): float(value)
    for metric, value in OmegaConf.load(PROJECT / "conf/reference/paper.yaml")["published"].items()
}
SEEDS = ["best_128", *(f"best_128_seed_{seed}" for seed in range(2, 6))]
MEMBERS = [f"best_ensemble_seed_{seed}" for seed in range(1, 6)]
SOUP = ["box_1", "box_2"]
STEPS = {
    "regression": [
        "paper_regression", "ladder/age/01_residual", "ladder/age/02_stretch",
        "ladder/age/03_hand", "ladder/age/04_sex", "ladder/age/05_smooth",
        "ladder/age/06_average", "ladder/age/07_mirror", "ladder/age/08_linear",
        "ladder/age/09_batch", "ladder/age/10_geometric",
        "ladder/age/11_robust", "ladder/age/12_distribution", "ladder/age/13_192px",
    ],
    "classification": [
        "paper_classification", "ladder/stage/01_residual", "ladder/stage/02_weights_half",
        "ladder/stage/03_weights", "ladder/stage/03_unclipped", "ladder/stage/04_sampling",
        "ladder/stage/05_both", "ladder/stage/06_focal", "ladder/stage/07_ordinal",
        "ladder/stage/08_multitask", "ladder/stage/09_folds", "best_stages",
    ],
    "best": [
        "paper_regression", "paper_multitask", "scratch_shuffle", "scratch", "default", "lite0_128",
        "lite0_finer", "lite0_256", *SOUP, "box", "box_fine", "box_fine_2", "box_fine_3",
        "box_fine_4", "box_fine_5", "box_384", "box_128", *SEEDS, "best_128_seeds",
        "best_128_long", *MEMBERS, "best_ensemble", "best_256",
    ],
}  # fmt: skip
ROWS = list(dict.fromkeys(row for rows in STEPS.values() for row in rows))
POOLED = {  # rows of several runs
    "best_128_seeds": SEEDS,
    "best_ensemble": MEMBERS,
    "ladder/stage/09_folds": [f"ladder/stage/09_folds_fold_{k}" for k in range(5)],
    "best_stages": [f"best_stages_fold_{k}" for k in range(5)],
}
AVERAGED = {  # rows with the mean weights of other rows
    "box": ["lite0_256", *SOUP],
    "box_384": ["box_fine_5", "box_fine_4"],
}
SCRATCH = ["data=rsna", "backbone=slim_resnet", "optimizer.lr=0.0007", "trainer.max_epochs=20"]
START = "outputs/results/lite0_128"
FROM_128 = ["data=rsna", f"start_from={START}", "optimizer.lr=0.0005", "scheduler.warmup=0.1"]
PLAIN = ["experiment=box", "backbone.enlarge=1", "mirror_test=true"]
FROM_256 = [*PLAIN, "trainer.max_epochs=9", "start_from=outputs/results/lite0_256"]
MILD = ["trainer.max_epochs=3", "augment=geometric", "optimizer.lr=0.0002"]
AT_128 = ["experiment=box", "data.size=128", "backbone.enlarge=3"]
MIRRORED = ["experiment=box", "mirror_test=true"]
UNNAMED = {  # rows without an experiment file: their options, and the row they build on
    "scratch_shuffle": ([*SCRATCH, "data.sampling=shuffle"], "ladder/age/11_robust"),
    "scratch": (SCRATCH, "scratch_shuffle"),
    "default": (["data=rsna"], "scratch"),
    "lite0_128": (["data=rsna", "trainer.max_epochs=20"], "default"),
    "lite0_finer": ([*FROM_128, "trainer.max_epochs=14", "backbone.enlarge=1.5"], "lite0_128"),
    "lite0_256": ([*FROM_128, "trainer.max_epochs=12", "data.size=256"], "lite0_128"),
    "box_1": ([*FROM_256, "seed=2"], "lite0_256"),
    "box_2": ([*FROM_256, "seed=3", "optimizer.lr=0.0003"], "lite0_256"),
    "box": ([*PLAIN, "train=false", "ckpt_path=box.ckpt"], "lite0_256"),
    "box_fine": ([*MIRRORED, "start_from=outputs/results/box", "seed=4"], "box"),
    "box_fine_2": ([*MIRRORED, "start_from=outputs/results/box_fine", "seed=5"], "box_fine"),
    "box_fine_3": (
        [*MIRRORED, *MILD, "start_from=outputs/results/box_fine_mean.ckpt", "seed=6"],
        "box_fine_2",
    ),
    "box_fine_4": ([*MIRRORED, "start_from=outputs/box_ab.ckpt", "seed=7"], "box"),
    "box_fine_5": (
        ["experiment=box", *MILD, "start_from=outputs/box_abc.ckpt", "seed=8"],
        "box_fine_4",
    ),
    "box_384": (["experiment=box", "train=false", "ckpt_path=box_384.ckpt"], "box"),
    "box_128": ([*AT_128, *MILD, "start_from=outputs/box_384.ckpt", "seed=9"], "box_384"),
    "best_128_seeds": (["-m", "experiment=best_128", "seed=1,2,3,4,5"], "best_128"),
    "best_128_long": (
        ["experiment=best_128", "trainer.max_epochs=50", "precision=bf16-mixed"],
        "best_128",
    ),
    "ladder/stage/03_unclipped": (
        ["experiment=ladder/stage/03_weights", "trainer.gradient_clip_val=null"],
        "ladder/stage/03_weights",
    ),
}


def overrides(row: str) -> list[str]:
    """Return the options of a row."""
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
    """Return the row that a row builds on, by default the first of its table."""
    if row in UNNAMED:
        return UNNAMED[row][1]
    experiment, _, seed = row.partition("_seed_")
    if seed and experiment not in POOLED:
        return experiment
    defaults = OmegaConf.load(PROJECT / f"conf/experiment/{experiment}.yaml")["defaults"]
    first = next(names[0] for names in STEPS.values() if row in names)
    named = (str(entry).removeprefix("/experiment/") for entry in defaults)
    base = next((name for name in named if name in ROWS), first)
    return None if base == row else base
