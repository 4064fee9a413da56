"""The sections of the GPU benchmark, each in a process of its own: what one breaks, the others do not notice."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

COMMAND = [sys.executable, "-m", "benchmarks.gpu"]

# Sections in order: the module and function that runs one, and the seconds it may take.
SECTIONS: dict[str, tuple[str, str, int]] = {
    "build": ("build", "build", 600),
    "machine": ("rates", "machine", 60),
    "tests": ("build", "op_tests", 900),
    "oracle": ("checks", "oracle", 300),
    "ops": ("ops", "time_ops", 300),
    "loss": ("loss", "time_loss", 600),
    "loss at 1,000,000 items": ("loss", "time_large_loss", 300),
    "epoch": ("training", "time_epoch", 300),
    "epoch of peers": ("peers", "time_epoch_of_peers", 600),
    "training": ("training", "time_training", 900),
}


def file_of(folder: Path, section: str) -> Path:
    """Where a section's figures are written."""
    return folder / f"{section.replace(' ', '-').replace(',', '')}.json"


def run_section(section: str, folder: Path, run: str | None) -> None:
    """Run a section in this process and write its figures."""
    module, name, _ = SECTIONS[section]
    function = getattr(importlib.import_module(f"benchmarks.gpu.{module}"), name)
    figures: dict[str, Any] = function(folder, run)
    file_of(folder, section).write_text(json.dumps(figures, indent=1) + "\n")


def run_apart(section: str, folder: Path, run: str | None) -> dict[str, Any]:
    """Run a section in a process of its own; where it fails, its figures say why."""
    path = file_of(folder, section)
    path.unlink(missing_ok=True)
    command = [*COMMAND, str(folder), "--section", section, *(["--run", run] if run else [])]
    limit = SECTIONS[section][2]
    start = time.perf_counter()
    try:
        code: int | str = subprocess.run(command, cwd=ROOT, timeout=limit).returncode
    except subprocess.TimeoutExpired:
        code = f"more than {limit} s"
    figures = json.loads(path.read_text()) if path.exists() else {"failed": f"ended with {code}; see above"}
    figures["seconds"] = round(time.perf_counter() - start, 1)
    path.write_text(json.dumps(figures, indent=1) + "\n")
    return dict(figures)


def summary(results: dict[str, dict[str, Any]]) -> list[str]:
    """The lines of the table: what each section calls its `table`, and what failed."""
    lines = []
    for section, figures in results.items():
        lines.append(f"{section} ({figures.get('seconds', 0):.0f} s)")
        lines += [f"    {name:<58} {value}" for name, value in figures.get("table", {}).items()]
        if "failed" in figures:
            lines.append(f"    failed: {figures['failed']}")
    return lines
