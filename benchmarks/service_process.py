"""A service in a process of its own: where it answers, what it takes, and whether what it answers is right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tagnn_fast.serving.served_model import ServedModel

K = 20
MARGIN = 5  # items more than are asked for, for those whose scores are all but equal
NEAR = 1e-5  # of the largest score
OURS = (sys.executable, "-W", "ignore", "-m", "tagnn_fast.cli", "serve", "--port", "0")
PEER = (sys.executable, "-W", "ignore", "-m", "benchmarks.peers.fastapi_service")


class Service:
    """A process that serves.

    Attributes:
        address: host and port.
        process: that serves there.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.search(r"http://([\d.]+):(\d+)", line)
            if found:
                self.address = found[1], int(found[2])
                return
        raise ChildProcessError(f"{' '.join(command)}: expected it to serve, got status {self.process.wait()}")

    def memory(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1e3

    def descriptors(self) -> int:
        """That are open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self) -> float:
        """That it has run for."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def get(self, path: str) -> str:
        """What it answers."""
        with urlopen(f"http://{self.address[0]}:{self.address[1]}{path}", timeout=10) as answer:
            return str(answer.read().decode())


@contextmanager
def serving(command: Sequence[str]) -> Iterator[Service]:
    """A service that is killed in the end, if it has not ended."""
    service = Service(command)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait()


class Checker:
    """Counts answers that are not those of the model that they say they are of.

    Args:
        sessions: raw ids of each request's session, by its number.
        models: by version; None stands for an answer without one.
    """

    def __init__(self, sessions: list[list[int]], models: Mapping[str | None, ServedModel]) -> None:
        self._expected = {}
        for version, model in models.items():
            answer = model.recommend(sessions, K + MARGIN)
            pairs = zip(answer.items, answer.scores, strict=True)
            self._expected[version] = [dict(zip(items, scores, strict=True)) for items, scores in pairs]

    def wrong(self, bodies: Counter[tuple[int, bytes]]) -> int:
        """How many of the answers are."""
        return sum(count for (number, body), count in bodies.items() if not self._right(number, json.loads(body)))

    def _right(self, number: int, answer: dict[str, Any]) -> bool:
        by_version = self._expected.get(answer.get("version"))
        if by_version is None:
            return False
        expected, items, scores = by_version[number], answer["items"], answer["scores"]
        best = list(expected.values())[:K]
        near = NEAR * max(map(abs, best))
        return (
            len(set(items)) == len(items) == len(scores) == len(best)
            and all(item in expected for item in items)
            and all(abs(expected[item] - score) <= near for item, score in zip(items, scores, strict=True))
            and all(abs(score - other) <= near for score, other in zip(scores, best, strict=True))
        )
