"""Training. The loop needs the extra: ``pip install tagnn_fast[train]``."""
