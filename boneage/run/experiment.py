"""One run: check, build, fit, test, write results."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ProgressBar
from omegaconf import DictConfig
from torch.utils import deterministic

from boneage.callbacks.checkpoint import EpochSeed
from boneage.callbacks.early_stopping import Divergence
from boneage.callbacks.progress import EpochLines
from boneage.callbacks.records import History, Predictions, Throughput
from boneage.data.atomic import write_file
from boneage.data.module import BoneAgeDataModule
from boneage.errors import FailedRun, UserError, require_part
from boneage.evaluation.readers import readers_report
from boneage.evaluation.report.page import write_report
from boneage.evaluation.report.statements import behind_baselines
from boneage.evaluation.run_folder import hash_test_set
from boneage.models.module import BoneAgeModule
from boneage.run.calibrate import add_calibration, calibrate, coverage_of, site_of
from boneage.run.check import check_config, readable
from boneage.run.checkpoint import (
    build_model,
    check_task,
    config_of_test,
    fold_of,
    load_model,
    make_record,
    read_checkpoint,
    warn_of_unreadable,
)
from boneage.run.checkpoint_file import checkpoint_file
from boneage.run.external import external_report
from boneage.run.fit import (
    check_labels,
    check_monitor,
    check_targets,
    check_test_batches,
    fit,
    read_origin,
    start_from,
)
from boneage.run.process import (
    check_strategy,
    interruptible,
    keep_freed_memory,
    only_run_in,
    quieten_lightning,
)
from boneage.run.results import describe_run, metric_report, print_results, write_results
from boneage.run.resume import (
    check_free,
    check_resumable,
    finished,
    newest_checkpoint,
    resume_record,
)
from boneage.run.seen import check_teachers, check_unseen, is_external
from boneage.run_files import SPLIT
from boneage.uncertainty.calibration import why_unknown
from boneage.weights import is_exported, sha256

log = logging.getLogger(__name__)


@dataclass
class _Run:
    """The parts of a run, before its first step.

    Args:
        cfg: its config; with `train=false`, that of `config_of_test`.
        folder: to write to.
        ckpt_path: checkpoint to resume from, or to test.
        checkpoint: its content.
        model: to train, or to test.
        data: the radiographs.
        trainer: with its callbacks, which include the next three.
        predictions: of the test fold.
        throughput: images per second.
        history: of the epochs.
        started: start time.
    """

    cfg: DictConfig
    folder: Path
    ckpt_path: Path | None
    checkpoint: dict[str, Any] | None
    model: BoneAgeModule
    data: BoneAgeDataModule
    trainer: L.Trainer
    predictions: Predictions
    throughput: Throughput
    history: History
    started: datetime = field(default_factory=lambda: datetime.now().astimezone())


def train(cfg: DictConfig) -> dict[str, Any]:
    """Run the experiment of a config and return the content of `metrics.json`.

    With `train=false`, test a checkpoint with its own model, stages and preprocessing.

    Raises:
        UserError: for any mistake in config, data or checkpoint, before the first training step.
    """
    check_config(cfg)
    folder = Path(cfg.run_dir)
    quieten_lightning()  # before the page of a finished run, whose fonts are libraries' too
    if (done := finished(folder, cfg)) is not None:
        return done
    with only_run_in(folder):
        check_free(folder, cfg)  # another run may have ended here while this one waited
        with interruptible(folder):
            keep_freed_memory()
            L.seed_everything(cfg.seed, workers=True, verbose=False)
            deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow
            run = _prepare(cfg, folder)
            score = _fit_and_test(run)
            return _summarise(run, score)


def _prepare(cfg: DictConfig, folder: Path) -> _Run:
    """Read the checkpoint, build model, trainer and data (which takes longest), write the split."""
    ckpt_path, checkpoint = _find_checkpoint(cfg, folder)
    origin = None
    if checkpoint is not None and not cfg.train:
        cfg = config_of_test(checkpoint, cfg)
        model = load_model(checkpoint)
        model.mirror_test = cfg.mirror_test
    else:  # before decoding: weights may be missing
        replaced = bool(ckpt_path or cfg.start_from)
        endless = cfg.trainer.max_epochs == cfg.trainer.max_steps == -1
        model = build_model(
            cfg, {}, replaced=replaced, compile_backbone=cfg.compile, endless=endless
        )
        check_monitor(cfg, model)
        if cfg.start_from and checkpoint is None:
            origin = read_origin(cfg.start_from, model)
    watched = predictions, throughput, history = Predictions(), Throughput(), History()
    lines = EpochLines(history, cfg.monitor, cfg.mode)
    always = [EpochSeed(cfg.seed), predictions, throughput, Divergence(), history, lines]
    trainer = _build_trainer(cfg, folder, always)
    check_strategy(trainer, cfg)
    with readable("data"):
        data: BoneAgeDataModule = instantiate(cfg.data)
    if checkpoint is not None and not cfg.train:
        data.is_external = partial(is_external, checkpoint)
    check_labels(model, data)
    data.setup("fit" if cfg.train else "test")
    check_test_batches(trainer, data)
    check_targets(model, data, cfg.monitor if cfg.train else None)
    if checkpoint is not None:
        check_unseen(checkpoint, data.table)
    if cfg.train:
        if data.soft_targets:
            check_teachers(data.soft_targets, data.table)
        model.record = make_record(cfg, data)
        warn_of_unreadable(model.record)
        model.fit_tasks(data.fold_table("train"))
        if checkpoint is not None and ckpt_path is not None:
            resume_record(checkpoint, model.record, ckpt_path, folder)
        elif origin is not None:
            start_from(cfg.start_from, origin, model, data.table)
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)  # called from Python; Hydra makes it otherwise
        split = [c for c in ("id", "fold", "age_years", "sex", "patient") if c in data.table]
        write_file(folder / SPLIT, data.table[split].to_csv(index=False))
    return _Run(cfg, folder, ckpt_path, checkpoint, model, data, trainer, *watched)


def _find_checkpoint(cfg: DictConfig, folder: Path) -> tuple[Path | None, dict[str, Any] | None]:
    """Return the checkpoint to resume from or to test, and its content; None without one."""
    own = newest_checkpoint(folder, cfg) if cfg.train and cfg.resume else None
    chosen = own or cfg.ckpt_path
    if not chosen:
        if not cfg.train:
            raise UserError("train=false tests a checkpoint: give it as ckpt_path=...")
        return None, None
    path = checkpoint_file(Path(chosen), "last" if cfg.train else "best")
    if cfg.train and is_exported(path):
        raise UserError(
            f"ckpt_path={path}: an exported file contains no training to resume: start from it "
            "with start_from=, or test it with train=false"
        )
    checkpoint = read_checkpoint(path)
    if cfg.train:
        check_resumable(checkpoint, cfg, own=own is not None)
    else:
        check_task(checkpoint, cfg)
        site = site_of(checkpoint["boneage"])
        if site is not None and (site.correction.lines or any(site.intervals.values())):
            log.warning(
                "ckpt_path=%s is fitted to a site: it is tested without the site's correction and "
                "intervals, which boneage predict uses", path,
            )  # fmt: skip
    return path, checkpoint


def _build_trainer(cfg: DictConfig, folder: Path, always: Sequence[L.Callback]) -> L.Trainer:
    """Return the trainer with the callbacks of every run and those of the config."""
    with readable("trainer"):
        callbacks = [instantiate(callback) for callback in cfg.callbacks.values()]
        for name, callback in zip(cfg.callbacks, callbacks, strict=True):
            require_part(f"callbacks.{name}", callback, "lightning.pytorch.Callback")
        if not cfg.trainer.enable_progress_bar:
            callbacks = [c for c in callbacks if not isinstance(c, ProgressBar)]
        trainer: L.Trainer = instantiate(
            cfg.trainer,
            callbacks=[*always, *callbacks],
            logger=[instantiate(logger) for logger in cfg.logger.values()],
            default_root_dir=folder,
            enable_model_summary=False,  # the config has its own callback
        )
    return trainer


def _fit_and_test(run: _Run) -> float | None:
    """Train unless `train=false`, and test; return the best validation score."""
    trainer, model, data = run.trainer, run.model, run.data
    if not run.cfg.train:
        trainer.test(model, data, verbose=False)
        return None
    steps_before = run.checkpoint["global_step"] if run.checkpoint else 0
    tested = fit(trainer, model, data, run.ckpt_path, steps_before)
    score = getattr(trainer.checkpoint_callback, "best_model_score", None)
    trainer.test(model, data, ckpt_path=tested, verbose=False)
    if tested and trainer.is_global_zero:
        model.to(trainer.strategy.root_device)  # Lightning leaves it on the CPU
        calibration = model.record["calibration"] = calibrate(model, data)
        validated = calibration.get("predicted_years")
        if validated is not None and (why := why_unknown(len(validated))):
            log.warning("%s: %s", tested, why)
        add_calibration(Path(tested), Path(tested), calibration)
    return None if score is None else float(score)


def _summarise(run: _Run, score: float | None) -> dict[str, Any]:
    """Write the results of a run, and return its metrics."""
    model, trainer, test = run.model, run.trainer, run.predictions.table
    if test.empty:
        raise FailedRun("no radiograph was tested: increase trainer.limit_test_batches")
    train_fold, val_fold = fold_of(model.record, "train"), fold_of(model.record, "val")
    aged = train_fold.dropna(subset="age_years")  # an exported model has no ages
    metrics = {
        **describe_run(run.cfg, run.data, model, trainer),
        "best_validation": score,  # of cfg.monitor
        "test_set": hash_test_set(test),
        "n": {"train": len(train_fold), "val": len(val_fold), "test": len(test)},
        **metric_report(test, aged, run.data.stages, run.predictions.tasks),
        "coverage": coverage_of(model.record, test),
        "readers_report": readers_report(test, run.data.columns.readers, run.cfg.readers_margin),
        "started": run.started.isoformat(timespec="seconds"),
        "seconds": run.throughput.elapsed,
        "images_per_second": run.throughput.images_per_second,
    }
    if run.ckpt_path and not run.cfg.train:
        metrics["checkpoint_sha256"] = sha256(run.ckpt_path)
    if trainer.is_global_zero:
        if run.data.external and run.ckpt_path:
            model.to(trainer.strategy.root_device)  # Lightning leaves it on the CPU
            metrics |= external_report(run.ckpt_path, model, run.data, test, metrics["test"])
        write_results(run.folder, metrics, test, run.history.table, run.data, run.predictions.tasks)
        scores = metrics["test"], metrics["baselines"]
        if (behind := behind_baselines(*scores, trained=run.cfg.train)) is not None:
            log.warning("%s", behind)
        if run.cfg.report:
            write_report(run.folder)
        print_results(metrics, run.folder)
    return metrics
