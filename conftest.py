"""Tests and benchmarks import their helpers from this folder."""

import sys
from pathlib import Path

# Last: a build of the package that PYTHONPATH names comes before the source tree.
sys.path.append(str(Path(__file__).parent))
