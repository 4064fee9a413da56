"""Tests and benchmarks import their helpers from this folder."""

import signal
import sys
from pathlib import Path

# Last: a build of the package that PYTHONPATH names comes before the source tree.
sys.path.append(str(Path(__file__).parent))
# A shell that starts this in the background has Ctrl-C ignored, here and in what is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)
