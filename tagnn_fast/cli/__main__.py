"""``python -m tagnn_fast.cli``: the same as ``tagnn-fast``."""

from tagnn_fast.cli import main

main()
