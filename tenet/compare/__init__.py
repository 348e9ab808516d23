"""Compare runs over their seeds: `python -m tenet.compare --help`. Neither torch nor hydra is imported here."""
