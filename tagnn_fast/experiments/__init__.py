"""Many trainings under one protocol: comparisons of methods, and the search for the best options of one."""
