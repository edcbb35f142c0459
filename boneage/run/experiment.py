"""One run: check, build, fit, test, write results."""

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.utils import deterministic

from boneage.callbacks.divergence import Divergence
from boneage.callbacks.epoch_seed import EpochSeed
from boneage.callbacks.predictions import Predictions
from boneage.callbacks.progress import EpochLines, History, Throughput
from boneage.data.module import BoneAgeDataModule
from boneage.errors import FailedRun, UserError
from boneage.evaluation.report.page import write_report
from boneage.evaluation.report.statements import behind_baselines
from boneage.evaluation.run_folder import hash_test_set
from boneage.run.calibrate import calibrate, coverage_of, keep, site_of
from boneage.run.check import check_config, readable
from boneage.run.checkpoint import (
    build_model,
    check_resumable,
    check_task,
    check_unseen,
    fold_of,
    load_model,
    make_record,
    read_checkpoint,
    start_from,
)
from boneage.run.checkpoint_file import checkpoint_file
from boneage.run.fit import fit
from boneage.run.process import check_strategy, interruptible, keep_freed_memory, quieten_lightning
from boneage.run.results import describe_run, metric_report, print_results, write_results
from boneage.run.resume import finished, newest_checkpoint
from boneage.run.teachers import check_teachers
from boneage.run.trust import check_buildable
from boneage.uncertainty.conformal import why_unknown
from boneage.weights import is_exported

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict[str, Any]:
    """Run the experiment that a config describes and return what `metrics.json` holds.

    With `train=false` the checkpoint is tested: model, stages and preprocessing are its own.

    Raises:
        UserError: for any mistake in config, data or checkpoint, before the first training step.
    """
    check_config(cfg)
    check_strategy(cfg)
    run_dir = Path(cfg.run_dir)
    if (done := finished(run_dir, cfg)) is not None:
        return done
    with interruptible(run_dir):
        return _train(cfg, run_dir)


def _train(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    keep_freed_memory()
    quieten_lightning()
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # takes time
    ckpt_path = (cfg.train and cfg.resume and newest_checkpoint(run_dir, cfg)) or cfg.ckpt_path
    if ckpt_path:
        ckpt_path = checkpoint_file(Path(ckpt_path), "last" if cfg.train else "best")
    if is_exported(Path(ckpt_path or "")):
        raise UserError(
            f"ckpt_path={ckpt_path}: an exported file holds no training to resume and no ages to "
            "compare with; start from it with start_from=, or give its run's checkpoint"
        )
    checkpoint = read_checkpoint(ckpt_path) if ckpt_path else None
    if checkpoint is None and not cfg.train:
        raise UserError("train=false tests a checkpoint: give it as ckpt_path=...")
    if checkpoint is not None and cfg.train:
        check_resumable(checkpoint, cfg)
    if checkpoint is not None and not cfg.train:
        check_task(checkpoint, cfg)
        check_buildable(checkpoint["boneage"]["config"])
        cfg.stages = checkpoint["boneage"]["config"]["stages"]
        cfg.data.update(checkpoint["boneage"]["preprocessing"])
        if site_of(checkpoint["boneage"]) is not None:
            log.warning(
                "ckpt_path=%s is fitted to a site: it is tested without the site's correction and "
                "intervals, which boneage predict uses", ckpt_path,
            )  # fmt: skip

    if checkpoint is not None and not cfg.train:
        model = load_model(checkpoint)
        model.mirror_test |= cfg.mirror_test
    else:  # before data are decoded: pretrained weights may be missing
        replaced = bool(ckpt_path or cfg.start_from)
        model = build_model(cfg, {}, replaced=replaced, compile_backbone=cfg.compile)
    with readable("data"):
        data: BoneAgeDataModule = instantiate(cfg.data)
    data.setup("fit" if cfg.train else "test")
    if checkpoint is not None:
        check_unseen(checkpoint, data.table)
    if cfg.train and data.soft_targets:
        check_teachers(data.soft_targets, data.table)
    if cfg.train:
        model.record = make_record(cfg, data)
        if cfg.start_from:
            start_from(cfg.start_from, model, data.table)
        model.fit_tasks(data.fold_table("train"))
    predictions, throughput, history = Predictions(), Throughput(), History()
    lines = EpochLines(history, cfg.monitor, cfg.mode)
    always = [EpochSeed(cfg.seed), predictions, throughput, Divergence(), history, lines]
    with readable("trainer"):
        callbacks = [instantiate(callback) for callback in cfg.callbacks.values()]
        trainer: L.Trainer = instantiate(
            cfg.trainer,
            callbacks=[*always, *callbacks],
            logger=[instantiate(logger) for logger in cfg.logger.values()],
            default_root_dir=run_dir,
            enable_model_summary=False,  # Lightning's own, beside that of the callbacks
        )
    if trainer.is_global_zero:
        split = ("id", "fold", "age_years", "sex", "patient")
        data.table[[c for c in split if c in data.table]].to_csv(run_dir / "split.csv", index=False)
    started = datetime.now().astimezone()
    if cfg.train:
        steps_before = checkpoint["global_step"] if checkpoint else 0
        tested = fit(trainer, model, data, ckpt_path, steps_before)
        score = getattr(trainer.checkpoint_callback, "best_model_score", None)
        trainer.test(model, data, ckpt_path=tested, verbose=False)
        if tested and trainer.is_global_zero:
            model.to(trainer.strategy.root_device)  # Lightning leaves it on the CPU
            calibration = model.record["calibration"] = calibrate(model, data)
            validated = calibration.get("predicted_years")
            if validated is not None and (why := why_unknown(len(validated))):
                log.warning("%s: %s", tested, why)
            keep(Path(tested), calibration)
    else:
        score = None
        trainer.test(model, data, verbose=False)

    test = predictions.table
    if test.empty:
        raise FailedRun("no radiograph was tested: trainer.limit_test_batches leaves none")
    train_fold = fold_of(model.record, "train")
    metrics = {
        **describe_run(cfg, data, model, trainer),
        "best_validation": None if score is None else float(score),  # of cfg.monitor
        "test_set": hash_test_set(test),
        "n": {
            "train": len(train_fold),
            "val": len(fold_of(model.record, "val")),
            "test": len(test),
        },
        **metric_report(test, train_fold, data.stages, trainer.logged_metrics),
        "coverage": coverage_of(model.record, test),
        "started": started.isoformat(timespec="seconds"),
        "seconds": throughput.elapsed,
        "images_per_second": throughput.images_per_second,
    }
    if trainer.is_global_zero:
        write_results(run_dir, metrics, test, history.table, data)
        if (behind := behind_baselines(metrics["test"], metrics["baselines"])) is not None:
            log.warning("%s", behind)
        print_results(metrics, run_dir)
        if cfg.report:
            write_report(run_dir)
    return metrics
