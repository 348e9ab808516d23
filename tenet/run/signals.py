"""Stop signals: a run finishes the current step and writes a checkpoint before it stops."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from tenet.failures import INTERRUPTED, PREEMPTED

# The signals that clusters send before they reclaim a machine: SIGTERM, or SIGUSR1 if requested with SLURM's --signal.
# SIGHUP: the terminal was closed; nohup lets a command ignore it.
PREEMPTIONS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


def exit_when_stopped() -> None:
    """Exit at once on SIGTERM, SIGUSR1, SIGHUP and SIGINT until `StopSignals` takes over: there is no work to save yet."""
    for number in (*PREEMPTIONS, signal.SIGINT):
        # Ignored signals stay ignored: shells ignore SIGINT for background jobs of scripts.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit_at_once)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        code, line = INTERRUPTED, "interrupted"
    else:
        name = signal.Signals(number).name
        code, line = PREEMPTED, f"stopped by {name}: start the same command again to continue"
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())
    os._exit(code)  # not an exception: imports, and OmegaConf while composing, may swallow it


class Preempted(BaseException):
    """The cluster reclaims the machine. The same command continues the run from its checkpoint.

    Like KeyboardInterrupt, it is not an Exception, so that error handlers do not swallow it.
    """


class StopSignals:
    """Context manager that converts SIGTERM, SIGUSR1 and SIGHUP to Preempted, and SIGINT to KeyboardInterrupt.

    The exception is raised at once, except within `postponed`: there it is raised by `check` or at the end of the
    block. A second SIGINT is always raised at once. After an exception was raised, other signals do not interrupt the
    cleanup. Does nothing outside the main thread, because only the main thread receives signals.
    """

    def __init__(self) -> None:
        self.received = 0
        self._is_postponed = self._is_stopping = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._receive)
                for number in (*PREEMPTIONS, signal.SIGINT)
                if signal.getsignal(number) is not signal.SIG_IGN
            }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def postponed(self, is_postponed: bool = True) -> Iterator[None]:
        """Delay signals until `check` is called or the block ends."""
        before, self._is_postponed = self._is_postponed, is_postponed
        try:
            yield
        finally:
            self._is_postponed = before
        if not before:
            self.check()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `postponed`, let signals interrupt a block that is safe to abort, such as an evaluation."""
        with self.postponed(False):
            self.check()
            yield

    def adopt(self, number: int) -> None:
        """Raise the exception of a signal that another process of the run received; 0: none did."""
        if number:
            self.received = number
            self.check()

    def check(self) -> None:
        """Raise the exception of the last signal, if one was received."""
        if self.received:
            self._is_stopping = True
            if self.received == signal.SIGINT:
                raise KeyboardInterrupt
            raise Preempted(signal.Signals(self.received).name)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        is_second = self.received == number == signal.SIGINT
        self.received = number
        if is_second or not (self._is_postponed or self._is_stopping):
            self.check()
