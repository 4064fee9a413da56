"""What a run folder holds: the configuration, weights, checkpoints, and a log of every look at a test set."""
