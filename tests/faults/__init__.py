"""The harness that breaks everything: `run.py` is its entry."""
