"""Loads what `tagnn-fast export` wrote, whichever format is to answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from tagnn_fast.checks import check_flag, check_integer_vector, check_offsets_leniently, check_path
from tagnn_fast.files import read_json
from tagnn_fast.recommendations import POPULAR, SKIPPED, Recommendations
from tagnn_fast.serving.finite import NOT_FINITE
from tagnn_fast.serving.formats import Choice, Format, Scripted, load_compiled, load_program
from tagnn_fast.serving.manifest import (
    COMPILED,
    FORMAT,
    ITEMS,
    PROGRAM,
    TORCHSCRIPT,
    VERSION,
    check_files,
    check_manifest,
    check_versions,
)
from tagnn_fast.serving.requests import NO_ITEM, flat_sessions, integer_id, list_length, plain_list, string_id

if TYPE_CHECKING:
    from tagnn_fast.data.vocabulary import Vocabulary

FormatName = Literal["torchscript", "program", "compiled"]

FORMATS: dict[FormatName, str] = {"torchscript": TORCHSCRIPT, "program": PROGRAM, "compiled": COMPILED}


class ServedModel:
    """An exported model; the same answers from every format, and nothing kept between calls: threads may share it.

    Ids are what the model's items have, integers or strings. Among integers, those beyond 64 bits are unknown items.

    Attributes:
        manifest: what ``manifest.json`` says, or would.
        format: "torchscript", "program" (torch.export) or "compiled" (AOTInductor); or "shards", of a run.
        can_explain: whether :meth:`explain` answers.
        vocabulary: raw id, clicks in training and maybe title of each item.
    """

    def __init__(self, manifest: dict[str, Any], vocabulary: Vocabulary, model: Format, format: str) -> None:
        self.manifest, self.format, self.vocabulary, self._model = manifest, format, vocabulary, model
        self._has_strings = not vocabulary.integers
        self._items, self._version = len(vocabulary), manifest["version"]
        self._longest = self._items if format == "torchscript" else manifest["k_max"]
        self.can_explain: bool = manifest["can_explain" if self._version > 2 else "target_attention"]
        if self._has_strings:
            self._names: list[str] = self.vocabulary.raw_ids.to_pylist()
            self._name_items = {name: item for item, name in enumerate(self._names, 1)}
            self._ids = torch.arange(1, self._items + 1)
        else:
            self._ids = torch.from_numpy(self.vocabulary.raw_ids.to_numpy().copy())
            self._sorted_ids = self._ids.sort().values

    def __call__(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        *,
        candidates: Tensor | None = None,
        exclude_clicked: bool = False,
        exclude: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`tagnn_fast.serving.serving_model.ServingModel.forward`.

        Raises:
            TypeError: on a wrong type or dtype, and where the model's item ids are strings.
            ValueError: on a wrong shape, offsets that do not rise from 0 to the number of clicks, or k out of range.
            FloatingPointError: where a score is not finite.
            NotImplementedError: on what an old export cannot do.
        """
        if self._has_strings:
            raise TypeError(
                "items: expected strings as the model's item ids, which recommend takes, got a tensor; "
                "forward_indices takes item indices"
            )
        return self._answer(items, offsets, k, candidates, exclude_clicked, exclude)

    def forward_indices(
        self,
        indices: Tensor,
        offsets: Tensor,
        k: int,
        *,
        candidates: Tensor | None = None,
        exclude_clicked: bool = False,
        exclude: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same of item indices, 1 to the number of items, for a model whose item ids are strings.

        Raises:
            TypeError, ValueError, FloatingPointError, NotImplementedError: as above, and where the model's item ids are
                integers.
        """
        if not self._has_strings:
            raise TypeError("forward_indices: expected a model whose item ids are strings, got one with integers")
        return self._answer(indices, offsets, k, candidates, exclude_clicked, exclude)

    def recommend(
        self,
        sessions: Sequence[Sequence[Any]],
        k: int = 20,
        *,
        candidates: Iterable[Any] | None = None,
        exclude_clicked: bool = False,
        exclude: Iterable[Any] | None = None,
    ) -> Recommendations:
        """The best k items of each session, in raw ids; fewer where there are no k.

        Args:
            sessions: raw ids of each session, oldest click first. Unknown ones are skipped.
            k: length of the lists; at most all items.
            candidates: raw ids of the only items to choose from, in any order; unknown ones do not matter. None for all
                items, while nothing is recommended where there are none.
            exclude_clicked: leave a session's own items out.
            exclude: raw ids of items that no session gets; unknown ones do not matter.

        Raises:
            TypeError: on ids that are not what the model's are, or another wrong type.
            ValueError: on a k out of range.
            FloatingPointError: where a score is not finite.
            NotImplementedError: on what an old export cannot do.
        """
        raw_ids, offsets = flat_sessions(sessions, self._id)
        items = self._tensor(raw_ids)
        chosen, excluded = self._optional(candidates, "candidates"), self._optional(exclude, "exclude")
        ids, scores, status = self._answer(items, offsets, k, chosen, exclude_clicked, excluded)
        kept = (scores > -torch.inf).sum(1).tolist()
        lists = [line[:count] for line, count in zip(ids.tolist(), kept, strict=True)]
        values = [line[:count] for line, count in zip(scores.double().tolist(), kept, strict=True)]
        if self._has_strings:
            lists = [[self._names[item - 1] for item in line] for line in lists]
        skipped = self._skipped(items, offsets, status)
        return Recommendations(lists, values, status.tolist(), skipped, not self._has_strings)

    def recommend_strings(self, sessions: Sequence[Sequence[str]], k: int = 20, **choice: Any) -> Recommendations:
        """The same for a model whose item ids are strings.

        Raises:
            ValueError: where they are integers, or on a k out of range.
            TypeError, FloatingPointError, NotImplementedError: as above.
        """
        if not self._has_strings:
            raise ValueError("recommend_strings: expected a model whose item ids are strings, got one with integers")
        return self.recommend(sessions, k, **choice)

    @torch.inference_mode()
    def scores(self, items: Tensor | Sequence[str], offsets: Tensor) -> Tensor:
        """See :meth:`ServingModel.scores`. Here as below, ids that are strings are given as lists.

        Raises:
            TypeError, ValueError, FloatingPointError, NotImplementedError: as above.
        """
        known = self._known(items, "items")
        check_offsets_leniently(offsets, len(known))
        return self._model.scores(known, offsets, self._ids)

    def item_ids(self) -> Tensor | list[str]:
        """See :meth:`ServingModel.item_ids`."""
        return list(self._names) if self._has_strings else self._ids.clone()

    @torch.inference_mode()
    def explain(self, items: Tensor | Sequence[str], offsets: Tensor, targets: Tensor | Sequence[str]) -> Tensor:
        """See :meth:`ServingModel.explain`.

        Raises:
            ValueError: for a model that cannot explain, or on targets that are not one per session.
            TypeError, FloatingPointError, NotImplementedError: as above.
        """
        if not self.can_explain:
            raise ValueError("explain: expected a model that can explain, got one without target attention")
        known, known_targets = self._known(items, "items"), self._known(targets, "targets")
        check_offsets_leniently(offsets, len(known))
        if len(known_targets) != len(offsets) - 1:
            raise ValueError(f"targets: expected one per session, got {len(known_targets)} for {len(offsets) - 1}")
        return self._model.explain(known, offsets, known_targets)

    @torch.inference_mode()
    def _answer(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Tensor | None,
        exclude_clicked: bool,
        exclude: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        length = list_length(k, self._items, self._longest)
        exclude_clicked = check_flag(exclude_clicked, "exclude_clicked")
        for value, name in ((items, "items"), (candidates, "candidates"), (exclude, "exclude")):
            if value is not None:
                check_integer_vector(value, name)
        check_offsets_leniently(offsets, len(items))
        if exclude is not None:  # programs give each session a copy
            exclude = exclude[~self._is_unknown(exclude)].unique()
        choice = Choice(candidates, exclude_clicked, exclude)
        choice.check_version(self._version)
        ids, scores, status = self._model.best(items, offsets, length, choice)
        if not bool((scores.isfinite() | ((scores == -torch.inf) & (ids == NO_ITEM))).all()):
            raise FloatingPointError(NOT_FINITE)
        return ids, scores, status

    def _skipped(self, items: Tensor, offsets: Tensor, status: Tensor) -> list[int]:
        """Unknown clicks of each session."""
        lengths = offsets.diff()
        if not bool((status == SKIPPED).any()):
            return torch.where(status == POPULAR, lengths, 0).tolist()
        unknown = self._is_unknown(items)
        return torch.cat([offsets[:1], unknown.cumsum(0)])[offsets].diff().tolist()

    def _is_unknown(self, items: Tensor) -> Tensor:
        if self._has_strings:
            return items == 0
        place = torch.searchsorted(self._sorted_ids, items).clamp(max=self._items - 1)
        return self._sorted_ids[place] != items

    def _id(self, value: Any) -> Any:
        return string_id(value) if self._has_strings else integer_id(value)

    def _tensor(self, ids: list[Any]) -> Tensor:
        """What the model takes: integers, or item indices of strings, 0 for unknown ones."""
        if self._has_strings:
            ids = [self._name_items.get(name, 0) for name in ids]
        return torch.tensor(ids, dtype=torch.int64)

    def _optional(self, ids: Iterable[Any] | None, name: str) -> Tensor | None:
        if ids is None:
            return None
        try:
            return self._tensor([self._id(value) for value in plain_list(ids, name)])
        except TypeError as error:
            message = str(error)
            raise TypeError(message if message.startswith(name) else f"{name}: {message}") from None

    def _known(self, ids: Any, name: str) -> Tensor:
        if not self._has_strings:
            check_integer_vector(ids, name)
            return ids  # type: ignore[no-any-return]
        if isinstance(ids, Tensor):
            raise TypeError(f"{name}: expected a list of strings as the model's item ids, got a tensor")
        return self._tensor([string_id(value) for value in plain_list(ids, name)])


def load(folder: str | Path, format: FormatName | None = None) -> ServedModel:
    """Load an exported folder. It is a program: load one only from where you would run a program from.

    Warns where another version of the package or of PyTorch wrote it.

    Args:
        folder: what `tagnn-fast export` wrote.
        format: "torchscript", "program" (torch.export) or "compiled" (AOTInductor); the first of these that was
            exported if not given.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: on an unknown format, or one that was not exported; on a damaged file or manifest, weights that are
            not finite, a folder that a newer tagnn_fast wrote, or a program compiled with another PyTorch.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    from tagnn_fast.data.stored_tables import read_items  # not before it is needed: it imports pyarrow

    folder = check_path(folder, "folder", "an exported folder")
    if not (folder / "manifest.json").exists():
        run = ", got a run, which `export` makes one of" if (folder / "config.json").exists() else ""
        raise FileNotFoundError(f"{folder}: expected an exported folder with a manifest.json in it{run}")
    manifest = read_json(folder / "manifest.json", FORMAT, VERSION)
    check_manifest(folder / "manifest.json", manifest)
    there = [name for name, file in FORMATS.items() if file in manifest["files"]]
    format = format or (there[0] if there else "torchscript")
    missing = manifest.get("missing", {}).get(FORMATS[format])
    if missing is not None:
        raise ValueError(f"format: expected one that was exported, got {format!r}: {missing}")
    if there and format not in there:
        raise ValueError(f"format: expected one that was exported ({', '.join(there)}), got {format!r}")
    check_versions(folder, manifest, FORMATS[format])
    check_files(folder, manifest, (FORMATS[format], ITEMS))
    vocabulary = read_items(folder / ITEMS)
    if vocabulary.integers != (manifest["item_ids"] == "integers") or len(vocabulary) != manifest["items"]:
        raise ValueError(
            f"{folder / 'manifest.json'}: expected the number and type of the items in {ITEMS}, got another"
        )
    served = ServedModel(manifest, vocabulary, _load_format(folder, manifest, format), format)
    if served._model.can_explain not in (None, served.can_explain):
        raise ValueError(
            f"{folder / 'manifest.json'}: can_explain: expected what {FORMATS[format]} can, got {served.can_explain}"
        )
    return served


@torch.inference_mode()
def _load_format(folder: Path, manifest: dict[str, Any], format: FormatName) -> Format:
    """Calls on tensors that are made here pass autograd by."""
    file, version, k_max, has_strings = (
        folder / FORMATS[format],
        manifest["version"],
        manifest["k_max"],
        manifest["item_ids"] == "strings",
    )
    if format == "torchscript":
        return Scripted(file, version, has_strings)
    if format == "program":
        return load_program(file, version, k_max)
    return load_compiled(file, version, k_max, has_strings)
