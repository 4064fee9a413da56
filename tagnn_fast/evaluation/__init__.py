"""How good recommendations are: metrics, baselines, and scoring on examples."""
