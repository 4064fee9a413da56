"""Everything there is to know about this package on a GPU, in one call: is it right, and how fast is it.

    python benchmarks/gpu.py FOLDER [--run RUN] [--only SECTION ...]

builds the CUDA kernels in the source tree and runs the sections below, each in a process of its own: what one breaks,
the others do not notice. Each writes FOLDER/<section>.json; the table comes last. RUN is a trained run with hidden size
100. Real sessions and golden numbers are looked for where the tests look for them (CONTRIBUTING.md).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent

# Sections in order: the module and function that runs one, and the seconds it may take.
SECTIONS: dict[str, tuple[str, str, int]] = {
    "build": ("gpu_build", "build", 600),
    "machine": ("gpu_rates", "machine", 60),
    "tests": ("gpu_build", "op_tests", 900),
    "oracle": ("gpu_checks", "oracle", 300),
    "ops": ("gpu_ops", "time_ops", 300),
    "loss": ("gpu_loss", "time_loss", 600),
    "loss at 1,000,000 items": ("gpu_loss", "time_large_loss", 300),
    "epoch": ("gpu_training", "time_epoch", 300),
    "epoch of peers": ("gpu_peers", "time_epoch_of_peers", 600),
    "training": ("gpu_training", "time_training", 900),
}


def file_of(folder: Path, section: str) -> Path:
    """Where a section's figures are written."""
    return folder / f"{section.replace(' ', '-').replace(',', '')}.json"


def run_section(section: str, folder: Path, run: str | None) -> None:
    """Run a section in this process and write its figures."""
    for part in (ROOT, ROOT / "tests", ROOT / "benchmarks"):
        sys.path.insert(0, str(part))
    module, name, _ = SECTIONS[section]
    function: Callable[[Path, str | None], dict[str, Any]] = getattr(importlib.import_module(module), name)
    figures = function(folder, run)
    file_of(folder, section).write_text(json.dumps(figures, indent=1) + "\n")


def run_apart(section: str, folder: Path, run: str | None) -> dict[str, Any]:
    """Run a section in a process of its own; where it fails, its figures say why."""
    path = file_of(folder, section)
    path.unlink(missing_ok=True)
    command = [sys.executable, __file__, str(folder), "--section", section, *(["--run", run] if run else [])]
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


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write figures to")
    parser.add_argument("--run", help="trained run with hidden size 100, for trained weights")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Run all sections, or the one this process is for."""
    options = parse_arguments()
    if not torch.cuda.is_available():
        sys.exit("gpu.py: expected a GPU that PyTorch can use, found none")
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    run = os.path.abspath(options.run) if options.run else None
    if options.section is not None:
        run_section(options.section, folder, run)
        return
    results = {}
    for section in options.only or SECTIONS:
        print(f"== {section}", flush=True)
        results[section] = run_apart(section, folder, run)
    print("\n".join(["", *summary(results)]), flush=True)
    if any("failed" in figures for figures in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
