"""Signals that ask a run to stop: a step that has begun is finished, and a checkpoint written, before it does."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from tenet.failures import INTERRUPTED, PREEMPTED

# What clusters send before they take a machine away: SIGTERM, and SIGUSR1 where SLURM's --signal asks for it.
PREEMPTIONS = (signal.SIGTERM, signal.SIGUSR1)


def exit_when_stopped() -> None:
    """End on SIGTERM, SIGUSR1 and SIGINT until `StopSignals` listens: nothing is there yet to lose."""
    for number in (*PREEMPTIONS, signal.SIGINT):
        # Ignored: as shells have SIGINT for what scripts start by &.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit_at_once)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        code, line = INTERRUPTED, "interrupted"
    else:
        name = signal.Signals(number).name
        code, line = PREEMPTED, f"stopped by {name}: start the same command again to go on"
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())
    os._exit(code)  # not by an exception, which an import may swallow, or OmegaConf while it composes


class Preempted(BaseException):
    """The machine is wanted back; the run goes on from its checkpoint when it is started again.

    Not an Exception, as KeyboardInterrupt is none: whoever handles errors is not to swallow it.
    """


class StopSignals:
    """Turns SIGTERM and SIGUSR1 into Preempted, SIGINT into KeyboardInterrupt; a context manager.

    At once, but within `postponed` only when the loop asks by `check`, or at its end; the second SIGINT always
    at once. Once something was raised, other signals do not disturb what then ends in good order.
    Outside of the main thread, which alone receives signals, it does nothing.
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
        """Signals wait for `check`."""
        before, self._is_postponed = self._is_postponed, is_postponed
        try:
            yield
        finally:
            self._is_postponed = before
        if not before:
            self.check()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `postponed`: work that may be broken off anywhere, such as an evaluation."""
        with self.postponed(False):
            self.check()
            yield

    def check(self) -> None:
        """Raise what a signal asked for, if one has come."""
        if self.received:
            self._is_stopping = True
            raise _error(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        is_second = self.received == number == signal.SIGINT
        self.received = number
        if is_second or not (self._is_postponed or self._is_stopping):
            self.check()


def _error(number: int) -> BaseException:
    if number == signal.SIGINT:
        return KeyboardInterrupt()
    return Preempted(signal.Signals(number).name)
