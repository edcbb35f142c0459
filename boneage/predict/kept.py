"""The answers of one call, kept as they come and written when all are there."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from boneage.data.atomic import atomic_file
from boneage.errors import UserError
from boneage.predict.answer import SCHEMA, Answer, table_of
from boneage.predict.page import FOLDER


class Answers:
    """The answers of one call, kept line by line so that a stopped call can go on.

    Args:
        folder: where `predictions.csv` and `predictions.json` will be.
        about: what the answers rest on: the checkpoints and options.
        resume: go on with what an earlier call with the same `about` has left.

    Raises:
        UserError: when the folder holds answers already, or cannot be written.
    """

    def __init__(self, folder: Path, about: dict[str, Any], resume: bool) -> None:
        self.folder, self.about = folder, about
        self.lines = folder / "predictions.part"
        self.document = folder / "predictions.json"
        self.done: dict[str, Answer] = {}
        self.since = max(
            (file.stat().st_mtime for file in (self.lines, self.document) if file.exists()),
            default=0.0,
        )
        there = any((folder / name).exists() for name in ("predictions.csv", self.lines.name))
        if there and not resume:
            raise UserError(
                f"{folder} holds predictions already: go on with --resume, or choose another --out"
            )
        if not there and about["pictures"] and (folder / FOLDER).exists():
            raise UserError(f"{folder / FOLDER} holds others' pictures: choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if resume and self.lines.exists():
                self._go_on()
            elif resume and self.document.exists():
                self._add_to()
            with self.lines.open("w") as file:
                file.write(json.dumps(about) + "\n")
                file.writelines(json.dumps(asdict(answer)) + "\n" for answer in self.done.values())
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror}") from error

    def _go_on(self) -> None:
        """Take the whole lines of a call that was stopped; a cut one is left out."""
        first, *rest = self.lines.read_text().splitlines() or [""]
        try:
            about = json.loads(first)
        except ValueError:
            return
        self._require_same(about)
        for line in rest:
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError):
                continue

    def _add_to(self) -> None:
        """Take the answers of a call that has ended."""
        try:
            document = json.loads(self.document.read_text(encoding="utf-8"))
            self._require_same({key: document.get(key) for key in self.about})
            for answer in document["predictions"]:
                self._take(answer)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{self.document} is damaged: choose another --out") from error

    def _require_same(self, about: dict[str, Any]) -> None:
        if about != self.about:
            raise UserError(
                f"{self.folder} holds predictions of other checkpoints or options: choose another "
                "--out"
            )

    def _take(self, fields: dict[str, Any]) -> None:
        """Keep an answer of an earlier call."""
        answer = Answer(**fields)
        self.done[answer.file] = answer

    def lacks(self, file: Path) -> bool:
        """Tell whether a file has no answer, could not be read, or has changed since."""
        answer = self.done.get(str(file))
        if answer is None or answer.status == "error":
            return True
        return file.exists() and file.stat().st_mtime > self.since

    def add(self, answers: Iterable[Answer]) -> None:
        """Keep some more answers."""
        with self.lines.open("a") as file:
            for answer in answers:
                self.done[answer.file] = answer
                file.write(json.dumps(asdict(answer)) + "\n")

    def write(self, files: Sequence[str]) -> list[Answer]:
        """Write both files: what is kept of earlier calls, then the files given, in order.

        Returns:
            All these answers.
        """
        given = set(files)
        earlier = [file for file in self.done if file not in given]
        answers = [self.done[file] for file in (*earlier, *files)]
        document = {"schema": SCHEMA, **self.about, "predictions": [asdict(a) for a in answers]}
        for name, text in (
            (self.document.name, json.dumps(document, indent=1) + "\n"),
            ("predictions.csv", table_of(answers).to_csv(index=False)),
        ):
            with atomic_file(self.folder / name) as part:
                part.write_text(text, encoding="utf-8", errors="backslashreplace")
        self.lines.unlink()
        return answers


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
