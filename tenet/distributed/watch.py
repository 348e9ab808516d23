"""A thread that watches over one of several processes, also while the main thread waits in torch for the others.

There, Python's signal handlers don't run, and nothing tells that the launcher has gone or which process is late.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from tenet.failures import FAILED, PREEMPTED

if TYPE_CHECKING:
    from torch.distributed import Store

POLL_S = 1.0
STOP_WITHIN_S = 30.0
"""Time for the main thread to finish its step and write a checkpoint."""
SAY_AFTER_S = 60.0
"""How long a process waits for others before a line says for which."""
BEAT_S = 10.0


class Watch:
    """Ends this process when its launcher is gone, or when it can't react to a signal; says for whom it waits.

    received: the number of the last signal that the main thread has noticed, or 0.
    entered: how often the main thread has begun to communicate. A process with a lower count than this one is late.
    """

    def __init__(self, received: Callable[[], int]) -> None:
        self.entered = 0
        self._received = received
        self._launcher = os.getppid()
        self._store: Store | None = None
        self._rank, self._size = 0, 1
        self._left = Event()
        self._left.set()

    def start(self) -> None:
        """Begin to watch. To be called in the main thread, which receives signals."""
        self._left.clear()
        self._signals = os.pipe()
        os.set_blocking(self._signals[1], False)
        # Python writes the number of a signal into this pipe at once, even while its handler can't run.
        self._before = signal.set_wakeup_fd(self._signals[1], warn_on_full_buffer=False)
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until the thread has ended: Python aborts if its exit meets a thread within a call of torch's store."""
        if self._left.is_set():  # it has not begun
            return
        self._left.set()
        signal.set_wakeup_fd(self._before)
        os.write(self._signals[1], bytes(1))  # which wakes the thread
        self._thread.join(STOP_WITHIN_S)

    def look_at(self, store: "Store", *, rank: int, size: int) -> None:
        """From now on, compare with the other processes through a store, which this thread alone uses."""
        self._rank, self._size, self._store = rank, size, store

    def _watch(self) -> None:
        beat_at = time.monotonic()
        seen, since, is_told = self.entered, time.monotonic(), False
        while not self._left.is_set():
            ready, _, _ = select.select([self._signals[0]], [], [], POLL_S)
            if ready and (number := os.read(self._signals[0], 1)[0]) in (signal.SIGTERM, signal.SIGUSR1):
                self._end_unless_handled(number)
            if os.getppid() != self._launcher:
                self._end_without_launcher()
            now = time.monotonic()
            if self.entered != seen:
                seen, since, is_told = self.entered, now, False
            if self._store is not None and now - beat_at >= BEAT_S:
                beat_at = now
                is_told = self._compare(seen, now - since, is_told)

    def _end_unless_handled(self, number: int) -> None:
        """Give the main thread time to notice a signal; if it does not, it waits for other processes in vain."""
        deadline = time.monotonic() + STOP_WITHIN_S
        while time.monotonic() < deadline:
            if self._left.wait(0.1) or self._received() == number:
                return
        name = signal.Signals(number).name
        say(f"stopped by {name} while waiting for other processes, without a checkpoint")
        os._exit(PREEMPTED)

    def _end_without_launcher(self) -> None:
        say("torchrun has ended, so this process stops")
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._left.wait(STOP_WITHIN_S):
            os._exit(FAILED)

    def _compare(self, entered: int, waited_s: float, is_told: bool) -> bool:
        """Publish this process's count; after a minute without progress, say who is late. Returns whether it was said."""
        store = self._store
        assert store is not None
        try:
            store.set(f"entered/{self._rank}", json.dumps(entered))
            if waited_s < SAY_AFTER_S or is_told:
                return is_told
            keys = [f"entered/{rank}" for rank in range(self._size)]
            counts = [json.loads(store.get(key)) if store.check([key]) else -1 for key in keys]
        except RuntimeError:  # the store has ended, and with it soon this process
            return is_told
        late = [rank for rank, count in enumerate(counts) if count < entered]
        # One of those that wait says it.
        if late and self._rank == counts.index(max(counts)):
            say(f"waiting for {name_ranks(late, self._size)}, for {waited_s / 60:.0f} min")
            return True
        return is_told


def name_ranks(ranks: Sequence[int], size: int) -> str:
    """Such as `rank 3 of 8` or `ranks 1, 2, 5 and 40 more of 64`."""
    shown = ", ".join(map(str, ranks[:8]))
    more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}{more} of {size}"


def say(line: str) -> None:
    """Print a line to standard error, which the launcher may have closed."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
