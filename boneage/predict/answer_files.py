"""The files of the answers: a log during the call, csv and JSON at its end."""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from boneage.data.atomic import (
    AGAIN,
    CHOOSE_ANOTHER_OUT,
    atomic_file,
    only_writer,
    write_files,
    writing,
)
from boneage.data.folders import ANSWERS, PICTURES, PREDICTION_FILES
from boneage.errors import UserError, join_first, plural
from boneage.predict.answer import Answer, table_of
from boneage.run_files import CHECKPOINTS, METRICS, PAGE, SPLIT
from boneage.terminal import relative_path

log = logging.getLogger(__name__)
PREDICTIONS_SCHEMA = 2  # of predictions.json
NAMES = {  # in a message
    "sha256": "checkpoint or table",
    "chronological_age_years": "chronological age",
    "columns": "columns of the table",
}
OF_A_RUN = (METRICS, SPLIT, CHECKPOINTS)  # whose predictions.csv is another table


@contextmanager
def open_answers(folder: Path, about: dict[str, Any], resume: bool) -> Iterator["AnswerFiles"]:
    """Yield the answers of a call, whose folder no other call can write into meanwhile.

    Raises:
        UserError: if one does, or as `AnswerFiles`.
    """
    with writing(folder, AGAIN if resume else CHOOSE_ANOTHER_OUT):
        folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder, "prediction", CHOOSE_ANOTHER_OUT):
        yield AnswerFiles(folder, about, resume)


class AnswerFiles:
    """The answers of one call, logged line by line so that a stopped call can be resumed.

    Args:
        folder: of `predictions.csv` and `predictions.json`.
        about: models and options of the call.
        resume: resume an earlier call with the same `about`; files may have other names.

    Raises:
        UserError: if the folder contains answers already, or cannot be written.
    """

    def __init__(self, folder: Path, about: dict[str, Any], resume: bool) -> None:
        self.folder, self.about = folder, about
        self.table, self.lines = (folder / name for name in PREDICTION_FILES)
        self.document = folder / ANSWERS
        self.done: dict[str, Answer] = {}  # by absolute path
        self.states: dict[str, list[int]] = {}  # of these files when they were read
        if any((folder / name).exists() for name in OF_A_RUN):
            raise UserError(f"{folder} contains a training or a test: choose another --out")
        exists = any(file.exists() for file in (self.table, self.lines, self.document))
        if exists and not resume:
            raise UserError(
                f"{folder} contains predictions already: continue them with --resume, or choose "
                "another --out"
            )
        if exists and not (self.lines.exists() or self.document.exists()):
            raise UserError(
                f"{self.table} exists without {ANSWERS}, which --resume needs: choose another --out"
            )
        for drawn in (folder / name for name in (PICTURES, PAGE)):
            if not exists and about["pictures"] and drawn.exists():
                raise UserError(f"{drawn} exists without its predictions: choose another --out")
        with writing(folder, AGAIN if resume else CHOOSE_ANOTHER_OUT):
            if resume and self.lines.exists():
                self._resume_stopped()
            elif resume and self.document.exists():
                self._resume_finished()
            with atomic_file(self.lines) as part, part.open("w", encoding="utf-8") as file:
                file.write(json.dumps(about | {"working_folder": os.getcwd()}) + "\n")
                file.writelines(self._line(path) for path in self.done)

    def _resume_stopped(self) -> None:
        """Read the log of a call that was stopped; an incomplete line is skipped."""
        first, *rest = self.lines.read_text(encoding="utf-8").splitlines() or [""]
        try:
            about = json.loads(first)
            folder = about.pop("working_folder", os.getcwd())
        except (AttributeError, TypeError, ValueError) as error:
            if rest:
                raise UserError(f"{self.lines} is damaged: choose another --out") from error
            return
        self._require_same(about)
        for line in rest:
            try:
                self._restore(json.loads(line), folder)
            except (AttributeError, TypeError, ValueError):
                continue

    def _resume_finished(self) -> None:
        """Read the answers of a finished call."""
        try:
            document = json.loads(self.document.read_text(encoding="utf-8"))
            self._require_same(document)
            states = document.get("states", {})
            folder = document.get("working_folder", os.getcwd())
            for answer in document["predictions"]:
                state = states.get(os.path.abspath(os.path.join(folder, answer["file"])))
                self._restore(answer | {"state": state}, folder)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{self.document} is damaged: choose another --out") from error

    def _require_same(self, about: dict[str, Any]) -> None:
        own = _by_content(self.about)
        before = _by_content({name: about.get(name) for name in self.about})
        if different := [name for name in own if own[name] != before[name]]:
            what = ", ".join(NAMES.get(name, name) for name in different)
            raise UserError(
                f"{self.folder} contains predictions of other checkpoints or options ({what}): "
                "choose another --out"
            )

    def _restore(self, fields: dict[str, Any], folder: str) -> None:
        """Add an answer of an earlier call, whose file is relative to its working folder."""
        state = fields.pop("state", None)
        answer = Answer(**fields)
        path = os.path.abspath(os.path.join(folder, answer.file))
        if path != os.path.abspath(answer.file):
            answer = replace(answer, file=relative_path(path))
        self.done[path] = answer
        if state is not None:
            self.states[path] = state

    def _line(self, path: str) -> str:
        return json.dumps(asdict(self.done[path]) | {"state": self.states.get(path)}) + "\n"

    def lacks(self, file: Path) -> bool:
        """Return whether a file has no answer or image, could not be read, or has changed since."""
        path = os.path.abspath(file)
        answer = self.done.get(path)
        if answer is None or answer.status == "error":
            return True
        drawn = (self.folder / answer.picture).exists()  # unless its image was removed
        return file.exists() and not (drawn and self.states.get(path) == _state(file))

    def add(self, answers: Iterable[Answer]) -> None:
        """Add answers to the log."""
        with self.lines.open("a", encoding="utf-8") as lines:
            for answer in answers:
                path, file = os.path.abspath(answer.file), Path(answer.file)
                self.done[path] = answer
                if file.exists():
                    self.states[path] = _state(file)
                lines.write(self._line(path))

    def write(self, files: Sequence[str]) -> list[Answer]:
        """Write both files: other answers of earlier calls, then the given files, in order.

        Returns:
            All these answers.
        """
        paths = {os.path.abspath(file): file for file in files}
        earlier = [answer for path, answer in self.done.items() if path not in paths]
        answers = earlier + [replace(self.done[path], file=file) for path, file in paths.items()]
        predictions = [asdict(answer) for answer in answers]
        document = {
            "schema": PREDICTIONS_SCHEMA, **self.about, "working_folder": os.getcwd(),
            "predictions": predictions, "states": self.states,
        }  # fmt: skip
        texts = {
            self.table: table_of(answers).to_csv(index=False),
            self.document: json.dumps(document, indent=1) + "\n",
        }
        write_files(texts)
        self.lines.unlink()
        if gone := [answer.file for answer in earlier if not Path(answer.file).exists()]:
            log.warning(
                "%s contains %s of earlier calls for files that no longer exist: %s", self.table,
                plural(len(gone), "answer"), join_first(gone),
            )  # fmt: skip
        return answers


def _by_content(about: dict[str, Any]) -> dict[str, Any]:
    """Return models and options without the names of files, which may be relative to a folder."""
    named = {name: value for name, value in about.items() if name not in ("checkpoints", "table")}
    return named | {"sha256": list((about.get("sha256") or {}).values())}


def _state(file: Path) -> list[int]:
    """Return size and time of a file, which change if it is replaced."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]
