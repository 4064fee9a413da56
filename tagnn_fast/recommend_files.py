"""Recommending for a file of sessions into another, and item ids as the command line gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tagnn_fast.data.session_files import SessionPart, count_sessions, read_sessions
from tagnn_fast.data.table_files import TableWriter
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.observer import Observer
from tagnn_fast.recommendations import Recommendations


class Model(Protocol):
    """What answers: a run's recommender, or an exported model."""

    vocabulary: Vocabulary

    def recommend(
        self,
        sessions: Sequence[Sequence[object]],
        k: int = 20,
        *,
        candidates: Sequence[object] | None = None,
        exclude_clicked: bool = False,
        exclude: Sequence[object] | None = None,
    ) -> Recommendations:
        """See :meth:`tagnn_fast.recommender.Recommender.recommend`."""


@dataclass(frozen=True)
class Asked:
    """What is to be recommended to every session.

    Attributes:
        k: length of the lists, 1 or more.
        candidates: see :meth:`tagnn_fast.recommender.Recommender.recommend`.
        exclude_clicked: the same.
        exclude: the same.
    """

    k: int = 20
    candidates: Sequence[object] | None = None
    exclude_clicked: bool = False
    exclude: Sequence[object] | None = None

    def of(self, model: Model, sessions: Sequence[Sequence[object]]) -> Recommendations:
        """What the model recommends to some sessions; raises as it does."""
        return model.recommend(
            sessions,
            self.k,
            candidates=self.candidates,
            exclude_clicked=self.exclude_clicked,
            exclude=self.exclude,
        )

    def nothing_left(self) -> str:
        """Which items there are none of, where there is nothing to recommend."""
        narrowed = self.candidates is not None or self.exclude is not None
        return "among the candidates that was not excluded" if narrowed else "that was not clicked"


class FileAnswer(NamedTuple):
    """What became of a file's sessions.

    Attributes:
        sessions: how many there are.
        popular: how many of them were answered by popularity.
        failed: how many of them could not be answered.
        first_error: of the first that could not, empty if there is none.
    """

    sessions: int = 0
    popular: int = 0
    failed: int = 0
    first_error: str = ""

    @property
    def by_model(self) -> int:
        """How many the model has answered."""
        return self.sessions - self.popular - self.failed

    def and_then(self, after: FileAnswer) -> FileAnswer:
        """Of sessions and others that come after them."""
        return FileAnswer(
            self.sessions + after.sessions,
            self.popular + after.popular,
            self.failed + after.failed,
            self.first_error or after.first_error,
        )


def recommend_file(
    model: Model,
    source: Path,
    output: Path,
    k: int = 20,
    *,
    candidates: Sequence[object] | None = None,
    exclude_clicked: bool = False,
    exclude: Sequence[object] | None = None,
    observer: Observer | None = None,
) -> FileAnswer:
    """Recommend for the sessions of a file; a row that cannot be used is a row of the output, with its error.

    Args:
        model: what answers.
        source: CSV, JSON lines or Parquet, see :func:`tagnn_fast.data.session_files.read_sessions`.
        output: CSV, JSON lines or Parquet to write: ``session``, ``rank``, ``item``, ``score``, ``answer`` (model,
            popularity or error), ``skipped``, ``error``.
        k: length of the lists, 1 or more.
        candidates: see :meth:`tagnn_fast.recommender.Recommender.recommend`.
        exclude_clicked: the same.
        exclude: the same.
        observer: told how many sessions are answered.

    Raises:
        FileNotFoundError, ValueError: on a source that cannot be read.
        TypeError, ValueError, FloatingPointError: as :meth:`tagnn_fast.recommender.Recommender.recommend`.
        OSError: where the output cannot be written.
    """
    if output.exists() and output.samefile(source):
        raise ValueError(f"{output}: expected another file than that of the sessions, got the same")
    asked = Asked(k, candidates, exclude_clicked, exclude)
    with TableWriter(output) as writer:
        return write_answers(model, told_of(read_sessions(source), source, observer), asked, writer.write)


def told_of(parts: Iterable[SessionPart], source: Path, observer: Observer | None) -> Iterator[SessionPart]:
    """The parts of a file; the observer is told of each that has been answered."""
    observer = observer or Observer()
    total = count_sessions(source)
    if total is None:
        observer.stage("answering sessions")
    else:
        observer.begin("answering sessions", total)
    for part in parts:
        yield part
        observer.advance(len(part.names))


def write_answers(
    model: Model,
    parts: Iterable[SessionPart],
    asked: Asked,
    write: Callable[[pa.Table], None],
    numbered: bool = False,
) -> FileAnswer:
    """Write what is recommended to the sessions of some parts, a table for each.

    Args:
        model: what answers.
        parts: sessions.
        asked: what is to be recommended.
        write: gets the tables.
        numbered: whether these begin with a column ``number``, the session's number, int64.

    Raises:
        TypeError, ValueError, FloatingPointError: as :meth:`tagnn_fast.recommender.Recommender.recommend`.
    """
    answered = FileAnswer()
    for part in parts:
        answers, place = _answers(model, part, asked)
        first_rows = pc.equal(answers["rank"], 1)
        popular = pc.sum(pc.and_(first_rows, pc.equal(answers["answer"], "popularity"))).as_py() or 0
        errors = answers["error"].drop_null()
        first_error = errors[0].as_py() if len(errors) else ""
        answered = answered.and_then(FileAnswer(len(part.names), popular, len(errors), first_error))
        write(answers.add_column(0, "number", pa.array(part.first + place, pa.int64())) if numbered else answers)
    return answered


def _answers(model: Model, part: SessionPart, asked: Asked) -> tuple[pa.Table, np.ndarray]:
    """What is recommended to each session, or its error, in their order; and of each row which session it is of."""
    errors = _with_wrong_ids(part, model.vocabulary)
    usable = np.array([place for place, error in enumerate(errors) if error is None], np.int64)
    answers = asked.of(model, [part.items[place] for place in usable]).to_table()
    session = usable[answers["session"].to_numpy()]
    for place in np.setdiff1d(usable, session):
        errors[place] = f"expected an item to recommend, got none {asked.nothing_left()}"
    failed = np.array([place for place, error in enumerate(errors) if error is not None], np.int64)
    found = pa.table(
        {
            "answer": pa.array(["error"] * len(failed), pa.string()),
            "error": pa.array([f"{part.places[place]}: {errors[place]}" for place in failed], pa.string()),
        }
    )
    together = pa.concat_tables([answers.drop_columns("session"), found], promote_options="default")
    session = np.concatenate([session, failed])
    order = np.argsort(session, kind="stable")
    session = session[order]
    return together.take(order).add_column(0, "session", part.names.take(pa.array(session))), session


def _with_wrong_ids(part: SessionPart, vocabulary: Vocabulary) -> list[str | None]:
    """The errors of a part, those of sessions with ids of another type among them."""
    errors = list(part.errors)
    try:
        vocabulary.check_ids(chain.from_iterable(part.items))  # of all at once, which is nearly always enough
    except TypeError:
        for place, items in enumerate(part.items):
            try:
                vocabulary.check_ids(items)
            except TypeError as error:
                errors[place] = str(error)
    return errors


def item_ids(arguments: Sequence[str] | None) -> list[str] | None:
    """Ids as the command line gives them: each an id, or @ and the path of a text file with an id a line; None as None.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where one is no UTF-8.
    """
    if not arguments:
        return None
    ids: list[str] = []
    for argument in arguments:
        if not argument.startswith("@"):
            ids.append(argument)
            continue
        path = Path(argument[1:])
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected a file with an item id a line")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: expected item ids in UTF-8, got the byte {error.object[error.start]:#04x}"
            ) from None
        ids.extend(line for line in text.split("\n") if line)
    return ids
