"""Search settings without an account: `python sweeps/search.py --help`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()  # until the search listens itself

import sys
from pathlib import Path

from tenet.search.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], root=Path(__file__).resolve().parents[1]))
