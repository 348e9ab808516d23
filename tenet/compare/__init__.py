"""Compare runs over their seeds: `python -m tenet.compare --help`. Imports neither torch nor hydra."""
