"""Every operation over folders full of files: `run.py` is the entry."""
