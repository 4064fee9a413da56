"""From a trained run to a folder that services load."""
