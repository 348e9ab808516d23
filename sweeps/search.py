"""Search settings without an account: `python sweeps/search.py --help`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()  # until the search handles signals

import sys
from pathlib import Path

try:
    from tenet.search.command import main
except ModuleNotFoundError as error:
    if error.name != "optuna":
        raise
    print("error: the search needs Optuna: pip install 'tenet-training[search]'", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], root=Path(__file__).resolve().parents[1]))
