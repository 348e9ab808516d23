"""Jobs without a training, for processes that import no more than this module."""

import os
import time
from contextlib import suppress
from pathlib import Path

from tenet.launching.job import JobWork, Outcome, State


class LargeResult(JobWork):
    """A result that is larger than the buffer of a pipe."""

    def __call__(self) -> Outcome:
        return Outcome(State.FINISHED, "x" * 1_000_000)


class Unstoppable(JobWork):
    """Writes its process id to the file `config`, and ignores that it is asked to stop."""

    def __call__(self) -> Outcome:
        Path(self.config).write_text(str(os.getpid()))
        while True:
            with suppress(BaseException):
                time.sleep(60)
