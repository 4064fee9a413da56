"""Everything there is to know about this package on a GPU, in one call: is it right, and how fast is it.

    python -m benchmarks.gpu FOLDER [--run RUN] [--only SECTION ...]

builds the CUDA kernels in the source tree and runs the sections below, each in a process of its own: what one breaks,
the others do not notice. Each writes FOLDER/<section>.json; the table comes last. RUN is a trained run with hidden size
100. Real sessions and golden numbers are looked for where the tests look for them (CONTRIBUTING.md). Start it in the
repository's folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from benchmarks.gpu.sections import SECTIONS, run_apart, run_section, summary


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder to write figures to")
    parser.add_argument("--run", help="trained run with hidden size 100, for trained weights")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Run all sections, or the one this process is for."""
    options = parse_arguments()
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: expected a GPU that PyTorch can use, found none")
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
