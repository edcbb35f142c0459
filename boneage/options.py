"""The table of all options: what each one means, and how changing it affects a run.

python -m boneage.options > docs/options.md
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Kind = Literal["identity", "setting", "bookkeeping"]
SETTING: Kind = "setting"
BOOKKEEPING: Kind = "bookkeeping"
DEPENDS = ""  # default that depends on other choices


@dataclass(frozen=True)
class Option:
    """An option of the config, or a group of options.

    Args:
        name: its dotted name; `*` matches any name between two dots. A row applies to everything
            below it that has no row of its own.
        default: value in the composed config with `data=rsna`.
        meaning: what it does.
        kind: "identity": what a run learns; a test has that of its checkpoint. "setting": its
            radiographs, and how it is tested. "bookkeeping": where and with what it runs.
        group: for a config group, whether its files set the "node" of that name or values
            "elsewhere".
        label: name on the page of a run, for the options that matter most.
        hparam: name of its column in TensorBoard's HPARAMS.
        recorded: whether runs record it. What is not recorded follows from other options, or
            differs between any two runs.
        partial: whether any value other than the default makes a run use only part of the data.
        checkpoint: "stored": checkpoints contain it; "fixed": training also cannot be resumed from
            one that differs.
    """

    name: str
    default: Any
    meaning: str
    kind: Kind = "identity"
    group: Literal["", "node", "elsewhere"] = ""
    label: str = ""
    hparam: str = ""
    recorded: bool = True
    partial: bool = False
    checkpoint: Literal["", "stored", "fixed"] = ""

    def covers(self, key: str) -> bool:
        """Tell whether a key is this option, or lies below it."""
        own, parts = self.name.split("."), key.split(".")
        pairs = zip(own, parts, strict=False)
        return len(own) <= len(parts) and all(mine in ("*", part) for mine, part in pairs)

    def keys(self, options: Iterable[str]) -> list[str]:
        """Return the keys that match this option itself, not one below it."""
        depth = self.name.count(".")
        return [key for key in options if key.count(".") == depth and self.covers(key)]

    def label_of(self, key: str) -> str:
        """Return the label, after the names that `*` matches: "age loss"."""
        parts = zip(self.name.split("."), key.split("."), strict=False)
        return " ".join([*(part for mine, part in parts if mine == "*"), self.label])


# fmt: off
TABLE = (
    Option("task", "regression", "`regression`, `classification`, `sex`; several at once: "
           "`multitask` (age and stage), `age_sex`, `age_stage_sex`", group="elsewhere"),
    Option("backbone", "efficientnet_lite0", "`efficientnet_lite1`, `efficientnet_lite2`; "
           "`slim_resnet`, `se_resnet`, `paper_cnn` from scratch; `resnet18`, `convnext_tiny`, "
           "`efficientnet_v2_s`; `timm` with `backbone.name=resnet34`: any convolutional network "
           "of [timm](https://github.com/huggingface/pytorch-image-models)",
           group="node", label="backbone", hparam="backbone", checkpoint="fixed"),
    Option("loss", "smooth_l1", "for the age, standardised by the training fold; `mse`, `l1`, "
           "`huber`", group="elsewhere", label="loss of the age", hparam="loss"),
    Option("sex", "embedding", "how the sex enters the model; `none`: not at all",
           group="node", label="sex input", hparam="sex", checkpoint="fixed"),
    Option("augment", "robust", "`geometric`; `report`: that of the reference study; `degraded`: "
           "more noise, JPEG; `none`", group="node", label="augmentation", hparam="augmentation"),
    Option("optimizer", "adamw", "`adam`, `sgd`",
           group="node", label="optimizer", hparam="optimizer", checkpoint="stored"),
    Option("scheduler", "warmup_cosine", "learning rate over the steps; `constant`",
           group="node", label="schedule", hparam="schedule", checkpoint="stored"),
    Option("weighting", "fixed", "of the losses of several tasks; `uncertainty`: learned; "
           "`loss_scale`: each divided by its running mean", group="node", checkpoint="stored"),
    Option("data", "phantom", "`phantom`: synthetic radiographs; `rsna`: a folder of your own, "
           "with a label table", SETTING, group="node"),
    Option("trainer", "default", "Lightning's Trainer; `ddp`", group="node"),
    Option("callbacks", "default", "`no_ema`: without averaged weights; `gradcam_localisation`; "
           "`frozen_backbone`; `gradient_conflict`: cosine of the tasks' gradients", group="node"),
    Option("logger", "tensorboard", "loggers of Lightning", BOOKKEEPING, group="node"),
    Option("reference", None, "published values to show next to the run's; `paper`",
           BOOKKEEPING, group="node", recorded=False),
    Option("experiment", None, "a file of `conf/experiment`: a named set of options", BOOKKEEPING,
           group="elsewhere", recorded=False),
    Option("hparams_search", None, "`optuna`: search for good values", BOOKKEEPING,
           group="elsewhere", recorded=False),
    Option("debug", None, "`fast`, `limit`, `overfit`, `profiler`", BOOKKEEPING,
           group="elsewhere", recorded=False),
    Option("hydra", "default", "folders of runs; `hydra/launcher=slurm`", BOOKKEEPING,
           group="elsewhere", recorded=False),

    Option("data.size", 128, "pixels of a side", label="image size (pixels)", hparam="size"),
    Option("data.fit", "squash", "`pad`: keep the aspect ratio", label="fit to the square"),
    Option("data.contrast", "stretch", "percentiles of each radiograph; `none`", label="contrast"),
    Option("data.crop", "hand", "crop to the hand; `none`: no crop, as with `data=phantom`"),
    Option("data.sampling", "ages", "rare ages oversampled; `balanced`: all stages equally often; "
           "`shuffle`: each radiograph once", label="sampling", hparam="sampler"),
    Option("data.batch_size", 32, "radiographs per step and device; 16 with `data=phantom`",
           label="batch size", hparam="batch"),
    Option("optimizer.lr", 0.001, "learning rate", label="learning rate", hparam="learning_rate"),
    Option("trainer.max_epochs", 8, "epochs at most", label="epochs at most"),
    Option("precision", "32-true", "`bf16-mixed`, `16-mixed`", label="precision",
           hparam="precision"),
    Option("seed", 1, "of weights, order and augmentation", label="seed", hparam="seed"),
    Option("data.split_seed", 0, "of the split", SETTING, label="split seed"),
    Option("data.folds", 10, "parts; 10: 80/10/10; `site`: a part is a site (`data.columns.site`)",
           SETTING, label="parts of the split"),
    Option("data.fold", 0, "which part is the test fold", SETTING, label="test part"),

    Option("tasks", DEPENDS, "the tasks by name; class and options of each", checkpoint="fixed"),
    Option("tasks.*._target_", DEPENDS, "class of a task: "
           "`boneage.tasks.age_distribution.AgeDistribution` for the age as a distribution over "
           "months, `boneage.tasks.ordinal.OrdinalStages` for ordered stages"),
    Option("tasks.*.soft_weight", 0.5, "share of the teacher's age, if there is one"),
    Option("tasks.*.balance", 0.0, "class weights: exponent of the inverse frequency of a stage",
           label="balance", hparam="balance"),
    Option("tasks.*.focal", 0.0, "exponent of the focal loss"),
    Option("tasks.*.weight", 1.0, "share of the total loss"),
    Option("tasks.*.sigma", 6.0, "of `AgeDistribution`: SD of its target in months"),
    Option("tasks.*.share", 0.2, "of `AgeDistribution`: share of its cross-entropy in the loss"),
    Option("tasks.*.hidden", DEPENDS, "widths of the hidden layers of the head; `[]`: none"),
    Option("tasks.*.dropout", DEPENDS, "dropout after each of them"),
    Option("stages", DEPENDS, "the maturity stages", checkpoint="fixed"),
    Option("stages.names", ["child", "adolescent", "adult"], "their names"),
    Option("stages.edges", [10, 18], "years of bone age between them, closed on the left"),
    Option("backbone.pretrained", True, "start from ImageNet weights: of the extra `train` (Lite0) "
           "or `pretrained` (Lite1, Lite2), else downloaded once; timm names the licence"),
    Option("backbone.stem_stride", 2, "first convolution; 1: maps twice as fine, 4 times the work"),
    Option("backbone.enlarge", 1, "factor; 1.5: 128 pixels become 192 inside the network"),
    Option("sex.dim", 16, "size of the sex embedding"),
    Option("sex.drop", 0.1, "share of training radiographs with the sex hidden"),
    Option("optimizer.weight_decay", 0.05, "weight decay"),
    Option("scheduler.warmup", 0.05, "share of all steps"),
    Option("start_from", None, "checkpoint, exported file or `builtin` to start training from"),
    Option("mirror_test", True, "average with the mirror image; `train=false` does as the "
           "checkpoint's run unless the command line says otherwise", SETTING, checkpoint="stored"),
    Option("compile", False, "torch.compile the backbone"),
    Option("monitor", DEPENDS, "validation metric that selects the best epoch"),
    Option("mode", DEPENDS, "`min` or `max`: whether lower or higher is better"),
    Option("name", DEPENDS, "name of the task in folders and tables", BOOKKEEPING,
           hparam="task", checkpoint="fixed"),
    Option("train", True, "`false`: only test `ckpt_path`", BOOKKEEPING),
    Option("ckpt_path", None, "checkpoint to resume from, or to test", BOOKKEEPING),
    Option("resume", None, "`auto`: resume the run in `hydra.run.dir` (`hydra.sweep.dir`)",
           BOOKKEEPING, recorded=False),
    Option("report", True, "write `report.html` and `figures/`", BOOKKEEPING),
    Option("readers_margin", 1.0, "months above a reader's MAE that are no worse", BOOKKEEPING),
    Option("run_dir", DEPENDS, "folder; set by `hydra.run.dir`", BOOKKEEPING, recorded=False),

    Option("data.root", DEPENDS, "folder of the radiographs", BOOKKEEPING),
    Option("data.table", None, "label table, relative to `data.root`; null finds it", SETTING),
    Option("data.val_table", None, "label table of a separate validation set", SETTING),
    Option("data.test_table", None, "label table of a separate test set", SETTING),
    Option("data.columns", DEPENDS, "columns of your table: `id`, `age`, `sex`, `patient`, `site`, "
           "`readers` ([how](data.md)); null recognises known names", SETTING),
    Option("data.columns.labels", None, "other numbers to learn ([how](extend.md))", SETTING),
    Option("data.age_unit", None, "`months`, `years`; null: by the column, else months", SETTING),
    Option("data.separator", None, "separator of csv tables; null finds it", SETTING),
    Option("data.missing", "error", "`drop`: leave out what lacks an image or a row", SETTING),
    Option("data.unreadable", "error", "`drop`: leave out damaged images", SETTING),
    Option("data.split_file", None, "a run's `split.csv`, in place of seed, folds, fold", SETTING),
    Option("data.hold_out", None, "table or folder of radiographs that must be tested", SETTING),
    Option("data.test", "auto", "radiographs that `train=false` tests: `fold`, `all`, or `auto`: "
           "all if the checkpoint does not know the data set ([how](studies.md))", SETTING),
    Option("data.train_films", "all", "number of training radiographs: a stratified sample, which "
           "contains that of a smaller number", label="training radiographs"),
    Option("data.subgroups", [], "columns of the table to group results by", BOOKKEEPING),
    Option("data.soft_targets", None, "predictions of a teacher ([how](soft_targets.md))"),
    Option("data.residence", "host", "`device`: all radiographs in its memory, augmented there"),
    Option("data.cache_dir", None, "for decoded radiographs; null: the user's cache", BOOKKEEPING),
    Option("data.num_workers", 0, "processes that read radiographs", BOOKKEEPING),

    Option("trainer.accelerator", "auto", "`cpu`, `gpu`", BOOKKEEPING),
    Option("trainer.devices", "auto", "number of devices; `data.batch_size` is per device"),
    Option("trainer.num_nodes", 1, "machines, each with that many devices"),
    Option("trainer.strategy", "auto", "how several devices work together; `ddp`", BOOKKEEPING),
    Option("trainer.min_epochs", None, "epochs at least"),
    Option("trainer.max_steps", -1, "steps at most", label="steps at most"),
    Option("trainer.max_time", None, "such as `00:02:00:00`", label="time at most"),
    Option("trainer.accumulate_grad_batches", 1, "batches per step"),
    Option("trainer.gradient_clip_val", 1.0, "maximum norm of the gradient"),
    Option("trainer.check_val_every_n_epoch", 1, "epochs between validations"),
    Option("trainer.val_check_interval", None, "validate within an epoch: share, or batches"),
    Option("trainer.limit_train_batches", None, "number, or share, of batches", partial=True),
    Option("trainer.limit_val_batches", None, "the same for validation", partial=True),
    Option("trainer.limit_test_batches", None, "the same for the test", SETTING, partial=True),
    Option("trainer.overfit_batches", 0.0, "memorise a few batches", partial=True),
    Option("trainer.fast_dev_run", False, "one batch of everything", SETTING, partial=True),
    Option("trainer.log_every_n_steps", 10, "steps between two points of a curve", BOOKKEEPING),
    Option("trainer.profiler", None, "`simple`: where the time goes", BOOKKEEPING),
    Option("trainer.enable_progress_bar", True, "in terminals", BOOKKEEPING),

    Option("callbacks.early_stopping.patience", 15, "validations without improvement, then stop"),
    Option("callbacks.ema.decay", 0.99, "decay of the averaged weights"),
    Option("callbacks.dashboard", DEPENDS, "figures and HPARAMS for TensorBoard", BOOKKEEPING),
    Option("callbacks.grad_cam", DEPENDS, "maps of what the model looks at", BOOKKEEPING),
    Option("callbacks.localisation", DEPENDS, "share of the maps in regions", BOOKKEEPING),
    Option("callbacks.conflict", DEPENDS, "cosine of the gradients of tasks", BOOKKEEPING),
    Option("callbacks.lr_monitor", DEPENDS, "curve of the learning rate", BOOKKEEPING),
    Option("callbacks.progress_bar", DEPENDS, "in terminals", BOOKKEEPING),
    Option("callbacks.model_summary", DEPENDS, "size of the model, in one line", BOOKKEEPING),
)
# fmt: on


@cache
def find(key: str) -> Option | None:
    """Return the row that applies to an option: its own, or the nearest above it."""
    rows = [row for row in TABLE if row.covers(key)]
    return max(rows, key=lambda row: row.name.count("."), default=None)


def kind_of(key: str) -> Kind:
    """Return the kind of an option; one without a row counts as identity."""
    row = find(key)
    return "identity" if row is None else row.kind


def is_choice(key: str) -> bool:
    """Tell whether a name is a config group; its choice shows in other options."""
    return "@" in key or any(row.group and row.name == key for row in TABLE)


def is_recorded(key: str) -> bool:
    """Tell whether runs record an option, or the choice of a group such as hydra/launcher."""
    row = find(key.partition("/")[0])
    return row is None or row.recorded


def top_level() -> list[str]:
    """Return the names of the config without a dot."""
    return list(dict.fromkeys(r.name.partition(".")[0] for r in TABLE if r.group != "elsewhere"))


def page() -> str:
    """Return the page of all options for readers, as Markdown."""
    return INTRODUCTION.format(
        groups=_rows(row for row in TABLE if row.group),
        options=_rows(row for row in TABLE if not row.group),
    )


def _rows(rows: Iterable[Option]) -> str:
    lines = ["| option | default | meaning | kind |", "| --- | --- | --- | --- |"]
    for row in rows:
        default = "" if row.default == DEPENDS else f"`{_yaml(row.default)}`"
        lines.append(f"| `{row.name}` | {default} | {row.meaning} | {row.kind} |")
    return "\n".join(lines)


def _yaml(value: object) -> str:
    """Return a value as it is written in a config."""
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


INTRODUCTION = """\
# Options

Options follow `python train.py`, as in `python train.py seed=2`. `python train.py --help` lists the
choices of every group, `python train.py --cfg job` every value. Defaults are those of `data=rsna`;
an empty one depends on other choices. Options of your own classes need no row here.

| kind | what it is | `resume=auto` | `boneage compare` |
| --- | --- | --- | --- |
| identity | what a run learns; also any option without a row | must be the same | shown |
| setting | radiographs and how to test; `train=false` uses its own | must be the same | shown |
| bookkeeping | where and with what it runs | may differ; not a test's model or data | not shown |

## Groups

A group is a folder of `conf/`: `backbone=slim_resnet` chooses a file there.

{groups}

## Options

`*` is the name of a task: `age`, `stage` or `sex`, as in `tasks.age.weight=2`.

{options}
"""


if __name__ == "__main__":
    print(page(), end="")
