"""What is exported of a trained run, the folder that holds it, and what loads it."""
