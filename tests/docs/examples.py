"""A folder with the files that the documents speak of, small ones."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch

from tests.support import ROOT

ITEMS = [2054, 1171, 88, *range(100, 112)]


def write_files(folder: Path) -> None:
    """Logs, exchange files, files of sessions and published weights at the paths that the documents name."""
    random = Random(0)
    sessions = [[random.choice(ITEMS) for _ in range(random.randint(2, 6))] for _ in range(400)]
    _write(folder / "clicks.csv", _log(sessions, "session_id,item_id,timestamp", range(400)))
    (folder / "logs").mkdir()
    (folder / "later").mkdir()
    for day in range(1, 5):
        log = _log(
            sessions[100 * day - 100 : 100 * day], "visitor,product,at", [*range(40), *range(40), *range(20)], day, 1
        )
        folder_of_day = folder / ("logs" if day < 4 else "later")
        (folder_of_day / f"2024-06-0{day}.csv.gz").write_bytes(gzip.compress(log.encode()))
    rows = [line.split(",") for line in _log(sessions, "", range(400)).splitlines()[1:]]
    _write(folder / "yoochoose-clicks.dat", "".join(f"{owner},{time},{item},0\n" for owner, item, time in rows))
    exchange = folder / "path/to/diginetica"
    exchange.mkdir(parents=True)
    prefixes = [(session[:end], session[end]) for session in sessions[350:] for end in range(1, len(session))]
    (exchange / "all_train_seq.txt").write_bytes(pickle.dumps(sessions[:350], protocol=2))
    (exchange / "test.txt").write_bytes(pickle.dumps(tuple(map(list, zip(*prefixes, strict=True))), protocol=2))
    examples = folder / "path/to/diginetica-session"
    examples.mkdir()
    for split, part in (("train", sessions[:350]), ("test", sessions[350:])):
        cut = [(session[:end], session[end]) for session in part for end in range(len(session) - 1, 0, -1)]
        lines = [f"{number}\t{' '.join(map(str, prefix))}\t{last}\n" for number, (prefix, last) in enumerate(cut)]
        header = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
        _write(examples / f"diginetica-session.{split}.inter", header + "".join(lines))
        first = 0 if split == "train" else 350
        clicks = [
            f"{number}\t{item}\t{1_400_000_000 + 600 * number}.5\n"
            for number, own in enumerate(part, first)
            for item in own
        ]
        name = "train_full" if split == "train" else "test"
        _write(folder / f"rsc15_{name}.txt", "SessionId\tItemId\tTime\n" + "".join(clicks))
    _write(folder / "sessions.csv", "session,items\na,2054 1171 2054\nb,88\n")
    with np.load(ROOT / "tests/goldens/tagnn_pp_nonhybrid.npz") as golden:
        parameters = {name[6:]: torch.from_numpy(golden[name]) for name in golden.files if name.startswith("param/")}
    torch.save(parameters, folder / "published.pt")


def _log(sessions: list[list[int]], header: str, owners: Sequence[int], first_day: int = 1, days: int = 3) -> str:
    lines = [header]
    for number, (owner, session) in enumerate(zip(owners, sessions, strict=True)):
        for click, item in enumerate(session):
            hour, minute = divmod(number * days * 1439 // len(sessions) + click, 60)
            lines.append(f"{owner},{item},2024-06-{first_day + hour // 24:02}T{hour % 24:02}:{minute:02}:00")
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
