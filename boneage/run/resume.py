"""Whether a run folder is free, finished, or to be resumed, and a checkpoint can be."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from boneage.errors import UserError, plural
from boneage.evaluation.report.page import write_report
from boneage.evaluation.run_folder import contains_run, read_metrics
from boneage.options import TABLE, find, is_choice, kind_of
from boneage.run.checkpoint import check_task, config_of_test, read_checkpoint, resolved
from boneage.run.checkpoint_file import IntactCheckpoint, checkpoint_file
from boneage.run.options import differing, folder_option, options
from boneage.run.process import interruptible, is_first_process, only_run_in
from boneage.run.seen import changed_fold
from boneage.run_files import BEST, ERROR, LAST, METRICS, PAGE, PREDICTIONS
from boneage.weights import sha256

log = logging.getLogger(__name__)

MUST_MATCH = [row.name for row in TABLE if row.checkpoint == "fixed"]
MAY_BE_EXTENDED = (
    "trainer.max_epochs",
    "trainer.min_epochs",
    "trainer.max_steps",
    "trainer.max_time",
    "callbacks.early_stopping.patience",
)


def finished(run_dir: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """Return the content of `metrics.json` if the run to be resumed has finished, else None.

    Its page is written if an interruption left it out. Without its predictions, it is to be tested
    again.

    Raises:
        UserError: if the folder contains a run without `resume=auto`, a run with other options,
            one that is still being written, or one that lacks its predictions and cannot be tested
            again.
    """
    if not is_first_process():  # the first process checked before it started this one
        return None
    check_free(run_dir, cfg)
    if cfg.resume is None:
        return None
    if not (run_dir / METRICS).exists():
        if not cfg.train and contains_run(run_dir):
            raise UserError(
                f"{run_dir} contains an unfinished training: choose another folder for the test "
                f"with {folder_option()}"
            )
        return None
    metrics = read_metrics(run_dir / METRICS)
    check_same(metrics["options"], cfg, f"{run_dir} contains a finished run")
    if metrics.get("checkpoint_sha256"):
        tested = checkpoint_file(Path(cfg.ckpt_path))
        if tested.exists() and sha256(tested) != metrics["checkpoint_sha256"]:
            raise UserError(
                f"{run_dir} contains a test of other weights in {tested}, which was written again: "
                f"choose another folder for the test with {folder_option()}"
            )
    if not (run_dir / PREDICTIONS).exists():
        if cfg.train and not (run_dir / LAST).exists():
            raise UserError(
                f"{run_dir} is finished, but lacks {PREDICTIONS} and {LAST}, which it is made "
                "from: test its best checkpoint in another folder (train=false ckpt_path=), or "
                "train in another folder"
            )
        log.warning("%s is finished, but lacks %s: it is tested again", run_dir, PREDICTIONS)
        return None
    _complete(run_dir, cfg)
    log.info("%s is finished", run_dir)
    return metrics


def check_free(run_dir: Path, cfg: DictConfig) -> None:
    """Raise UserError if a folder contains a run that the config does not resume."""
    if cfg.resume is None and is_first_process() and contains_run(run_dir):
        raise UserError(
            f"{run_dir} contains a run already: resume it with resume=auto, or choose another "
            f"folder with {folder_option()}"
        )


def _complete(run_dir: Path, cfg: DictConfig) -> None:
    """Write the page of a finished run that was interrupted before it, and remove the mark."""
    lacks_page = cfg.report and not (run_dir / PAGE).exists()
    if not lacks_page and not (run_dir / ERROR).exists():
        return
    with only_run_in(run_dir), interruptible(run_dir):
        if lacks_page:
            write_report(run_dir)
        (run_dir / ERROR).unlink(missing_ok=True)


def newest_checkpoint(run_dir: Path, cfg: DictConfig) -> Path | None:
    """Return the newest readable checkpoint of an unfinished run; None without one.

    The best weights of a validation within an epoch are not resumed: epochs are repeated from their
    start. Nor are copies from the run of `ckpt_path`: that run is resumed. The first process
    removes the mark of an interruption, and renames damaged checkpoints.

    Raises:
        UserError: if the run has other options, another version of this project wrote a checkpoint,
            or one cannot be opened.
    """
    if is_first_process():
        (run_dir / ERROR).unlink(missing_ok=True)
    readable = []
    for name in (LAST, BEST):
        file = run_dir / name
        if not file.exists() or _is_copied(file, cfg):
            continue
        try:
            checkpoint = read_checkpoint(file)
        except IntactCheckpoint:  # without it, training would start again
            raise
        except UserError as error:
            log.warning("Skipped: %s", error)
            if is_first_process():
                file.replace(file.with_suffix(".damaged"))
            continue
        check_same(checkpoint["boneage"]["options"], cfg, f"{run_dir} contains an unfinished run")
        if name == LAST or not is_within_epoch(checkpoint, file):
            readable.append(file)
    if not readable:
        return None
    log.info("Resuming from %s", readable[0])
    return readable[0]


def _is_copied(file: Path, cfg: DictConfig) -> bool:
    """Tell whether a checkpoint is a copy from the folder of `ckpt_path`."""
    if not cfg.ckpt_path:
        return False
    try:
        original = checkpoint_file(Path(cfg.ckpt_path), "last").with_name(file.name)
    except UserError:  # its run was moved, but this one has checkpoints
        return False
    if not original.is_file() or original.samefile(file):
        return False
    return sha256(original) == sha256(file)


def check_same(was: dict[str, Any], cfg: DictConfig, what: str) -> None:
    """Raise UserError if a run to be resumed was started with other options that matter."""
    current = options(cfg)
    matters: Callable[[str], bool] = _matters_for_a_test
    if was.get("train", True) != cfg.train:
        matters = "train".__eq__
    elif cfg.train:
        matters = _matters_for_a_training
    elif cfg.ckpt_path:
        tested = checkpoint_file(Path(cfg.ckpt_path))
        if tested.exists():
            current = options(config_of_test(read_checkpoint(tested), cfg))
        else:
            current["ckpt_path"] = str(tested.resolve())
    different = differing(was, current, matters)
    if different:
        advice = f"repeat its options, or choose another folder with {folder_option()}"
        has_weights = (Path(cfg.get("run_dir") or "") / BEST).exists()
        if matters is _matters_for_a_training and has_weights:
            longer = ", ckpt_path= continues it there" if {*different} <= {*MAY_BE_EXTENDED} else ""
            advice += f" (start_from= this one starts from its weights{longer})"
        raise UserError(f"{what} with other options: {', '.join(different.values())}; {advice}")


def _matters_for_a_training(key: str) -> bool:
    """Tell whether a training with another value of an option is another training."""
    return kind_of(key) != "bookkeeping" and not is_choice(key)


def _matters_for_a_test(key: str) -> bool:
    """Tell whether a test of a checkpoint with another value of an option is another test."""
    row = find(key)
    chosen = row is not None and row.name in ("ckpt_path", "data.root")
    return chosen or (kind_of(key) == "setting" and not is_choice(key))


def check_resumable(checkpoint: dict[str, Any], cfg: DictConfig, own: bool) -> None:
    """Raise UserError if training cannot be resumed with the config of this command.

    Args:
        checkpoint: to resume from.
        cfg: the config.
        own: whether it is of this run's folder: then `newest_checkpoint` has chosen it.
    """
    check_task(checkpoint, cfg)
    record = checkpoint["boneage"]
    current = resolved(cfg, MUST_MATCH)
    different = {key: key for key in MUST_MATCH if current[key] != record["config"][key]}
    for key, value in record["preprocessing"].items():
        if cfg.data[key] != value:
            different[f"data.{key}"] = f"data.{key} (was {value})"
    if record["options"]:
        more = differing(record["options"], options(cfg), _must_be_repeated)
        different = more | {  # what is not named already by itself or by its parts
            name: text
            for name, text in different.items()
            if not any(f"{part}.".startswith(f"{name}.") for part in more)
        }
    if different:
        raise UserError(
            f"ckpt_path={cfg.ckpt_path} cannot be resumed: this command differs from its run in "
            f"{', '.join(different.values())}; repeat that run's options"
        )
    if not own and is_within_epoch(checkpoint, cfg.ckpt_path):
        raise UserError(
            f"ckpt_path={cfg.ckpt_path} cannot be resumed: it was saved within an epoch, and only "
            "complete epochs are resumed; use last.ckpt of its run, or start from its weights with "
            "start_from="
        )
    epochs, limit = checkpoint.get("epoch", -1) + 1, cfg.trainer.max_epochs
    if limit is not None and 0 <= limit < epochs:
        raise UserError(
            f"ckpt_path={cfg.ckpt_path} cannot be resumed: it was trained for "
            f"{plural(epochs, 'epoch')}, and the limit is trainer.max_epochs={limit}: give a "
            "higher one, or test it with train=false"
        )


def _must_be_repeated(key: str) -> bool:
    """Tell whether a training cannot be resumed with another value of an option."""
    return kind_of(key) == "identity" and not is_choice(key) and key not in MAY_BE_EXTENDED


def is_within_epoch(checkpoint: dict[str, Any], path: Path | str) -> bool:
    """Return whether a checkpoint was saved before the end of an epoch.

    Raises:
        UserError: if it contains weights only.
    """
    try:
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        return not progress["is_last_batch"]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be resumed: it contains weights, but no state of a training: "
            "start from them with start_from="
        ) from error


def resume_record(
    checkpoint: dict[str, Any], record: dict[str, Any], path: Path, run_dir: Path
) -> None:
    """Check that a record has the folds of the checkpoint it resumes; keep earlier radiographs.

    Warns if a new run, which resumes a checkpoint of another folder, tests other radiographs.

    Args:
        checkpoint: the checkpoint.
        record: of the resumed training; it gets the radiographs of the starting weights.
        path: of the checkpoint.
        run_dir: folder of the resumed training.

    Raises:
        UserError: if the training or validation fold differs, or the test fold of the same run.
    """
    was, table = checkpoint["boneage"], pd.DataFrame(record["split"])
    if fold := changed_fold(was, table):
        raise UserError(
            f"{path} cannot be resumed: its {fold} fold had other radiographs or readings. "
            "Repeat the data and the split of its run, or start from its weights with start_from="
        )
    tested = "test" in was["split"]["fold"]  # older records have only the other folds
    if tested and changed_fold(was, table, ("test",)):
        if path.is_relative_to(run_dir):
            raise UserError(
                f"{path} cannot be resumed: its test fold had other radiographs or readings. "
                "Repeat the data and the split of its run, or resume it as another run, with "
                "hydra.run.dir= and ckpt_path="
            )
        log.warning(
            "The test fold has other radiographs or readings than the run of %s had: the results "
            "of the two are not comparable", path
        )  # fmt: skip
    if earlier := was.get("earlier"):
        record["earlier"] = earlier
