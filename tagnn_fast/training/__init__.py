"""Training and evaluation. Needs the extra: ``pip install tagnn_fast[train]``."""
