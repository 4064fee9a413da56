"""A few hundred damaged files of sessions; `fuzzing.py` makes as many as one waits for."""

from __future__ import annotations

from pathlib import Path

from tests.cli.fuzzing import Fuzzer


def test_damaged_session_files(tmp_path: Path) -> None:
    fuzzer = Fuzzer(tmp_path, 1)
    for _ in range(300):
        fuzzer.once()
    for name in (".csv", ".jsonl", ".parquet", "rows that were whole", "damaged rows: error", "damaged rows: answered"):
        assert fuzzer.counts[name] > 20, fuzzer.counts
