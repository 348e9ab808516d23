"""How processes find each other at the start, and after torchrun has restarted some of them."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tenet.distributed.environment import Member, is_started_by_torchrun, tells_errors
from tenet.distributed.group import SINGLE_PROCESS, ProcessGroup
from tenet.distributed.watch import Watch, name_ranks, say
from tenet.errors import ConfigError, UserError

if TYPE_CHECKING:
    from torch.distributed import Store

POLL_S = 0.05
SAY_AFTER_S = 10.0


class PeerError(UserError):
    """Another process of the run has ended or does not answer, so this one can't continue."""


class AlreadyToldError(UserError):
    """This process fails for a reason that another process of the run has printed."""


@contextmanager
def join(
    device: str = "auto", *, timeout_minutes: float = 30.0, received: Callable[[], int] = lambda: 0
) -> Iterator[ProcessGroup]:
    """The process group that torchrun started, within the context; SINGLE_PROCESS without torchrun.

    device: trainer.device. Each process of a machine gets a CUDA device of its own.
    timeout_minutes: how long a process waits for the others, here and whenever they communicate.
    received: returns the number of the last signal that the main thread has noticed, or 0 (see `Watch`).
    Raises ConfigError if the environment variables don't fit or there are fewer devices than processes, and PeerError if a
    process does not join. Of errors that several processes raise, one process raises the error itself and the others
    AlreadyToldError.
    """
    watch = Watch(received)
    if not is_started_by_torchrun():
        if "TORCHELASTIC_RUN_ID" in os.environ:  # one process, which ends with its launcher too
            watch.start()
        yield SINGLE_PROCESS
        watch.stop()
        return
    import torch
    from torch import distributed

    member, timeout = Member.from_environment(), timedelta(minutes=timeout_minutes)
    on_cuda = device != "cpu" and torch.cuda.is_available()
    if on_cuda:
        devices = torch.cuda.device_count()
        if member.local_rank >= devices:
            raise ConfigError(
                f"torchrun started more processes than the {devices} CUDA devices here; lower --nproc-per-node"
            )
        torch.cuda.set_device(member.local_rank)
    watch.start()
    try:
        with _end_at_sigterm():
            waiting = Waiting(timeout_minutes, size=member.size, is_told=member.rank == 0 or tells_errors())
            store, meeting = meet(member, waiting, timeout=timeout)
            distributed.init_process_group(
                "nccl" if on_cuda else "gloo",
                store=distributed.PrefixStore(meeting, store),
                rank=member.rank,
                world_size=member.size,
                timeout=timeout,
            )
            cpu_group = distributed.new_group(backend="gloo", timeout=timeout)
            own = distributed.TCPStore(member.host, member.port, is_master=False, timeout=timeout)
            watch.look_at(distributed.PrefixStore(meeting, own), rank=member.rank, size=member.size)
        try:
            yield ProcessGroup(member.rank, member.size, cpu_group, watch)
        except Exception as error:
            raise _told_once(error, distributed.PrefixStore(meeting, store), timeout_minutes) from error
    finally:
        watch.stop()
    # Not after an error: this would wait for the other processes, which torchrun is about to end.
    distributed.destroy_process_group()


class Waiting:
    """A wait for other processes: after ten seconds one line says for whom, and after the limit it is an error."""

    def __init__(self, minutes: float, *, size: int, is_told: bool) -> None:
        self.minutes, self.size, self.is_told = minutes, size, is_told
        self._since = time.monotonic()

    def pause(self, *ranks: int) -> None:
        """Sleep for a moment. Raises PeerError after the limit."""
        time.sleep(POLL_S)
        waited_s = time.monotonic() - self._since
        whom = name_ranks(ranks, self.size)
        if waited_s > self.minutes * 60:
            raise PeerError(
                f"{whom} did not join within {self.minutes:g} min (timeout_minutes); if there is no such process, unset "
                "RANK and WORLD_SIZE, or use torchrun"
            )
        if self.is_told and waited_s > SAY_AFTER_S:
            self.is_told = False
            say(f"waiting for {whom} to join, at most {self.minutes:g} min (timeout_minutes)")


def meet(member: Member, waiting: Waiting, *, timeout: timedelta) -> "tuple[Store, str]":
    """Wait until all processes are there; return the store that they share and a prefix for this meeting of theirs.

    torchrun keeps its store when it restarts processes, so a process may find what those that have ended left there. The
    prefix is new each time: without it, torch would take the addresses of the dead for those of the living.
    """
    from torch.distributed import PrefixStore

    store = _open_store(member, waiting, timeout)
    common, token = PrefixStore("meeting", store), uuid4().hex
    common.set(f"token/{member.rank}", token)
    meeting = _call_meeting(common, member.size, waiting) if member.rank == 0 else None
    while meeting is None:
        meeting = _answer_call(common, member.rank, token)
        if meeting is None:
            waiting.pause(0)
    return store, meeting


def _call_meeting(store: "Store", size: int, waiting: Waiting) -> str:
    """As rank 0: call those whose tokens are there, again whenever a token changes, until all have answered one call."""
    tokens: list[str] = []
    meeting, others = "", range(1, size)
    while True:
        missing = [rank for rank in others if not store.check([f"token/{rank}"])]
        if not missing:
            found = [store.get(f"token/{rank}").decode() for rank in others]
            if found != tokens:
                tokens, meeting = found, uuid4().hex
                store.set("call", json.dumps({"meeting": meeting, "tokens": tokens}))
            missing = [rank for rank in others if not store.check([f"answer/{meeting}/{rank}"])]
        if not missing:
            store.set(f"begin/{meeting}", "")
            return meeting
        waiting.pause(*missing)


def _answer_call(store: "Store", rank: int, token: str) -> str | None:
    """As another rank: answer the call that names this process's token; return its meeting once all have answered."""
    if not store.check(["call"]):
        return None
    call = json.loads(store.get("call"))
    if call["tokens"][rank - 1] != token:
        return None  # a call to the process that had this rank before
    meeting = str(call["meeting"])
    store.set(f"answer/{meeting}/{rank}", "")
    return meeting if store.check([f"begin/{meeting}"]) else None


def _open_store(member: Member, waiting: Waiting, timeout: timedelta) -> "Store":
    from torch.distributed import DistNetworkError, TCPStore

    if not member.hosts_store:
        # torch would print a traceback for every attempt.
        while not _answers(member.host, member.port):
            waiting.pause(0)
    try:
        return TCPStore(
            member.host, member.port, is_master=member.hosts_store, wait_for_workers=False, timeout=timeout
        )
    except DistNetworkError as error:
        if member.hosts_store and "EADDRINUSE" in str(error):
            raise ConfigError(
                f"MASTER_PORT={member.port} is taken on this machine; choose another port"
            ) from error
        raise


def _answers(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


@contextmanager
def _end_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process at once: a handler in Python would not run while torch waits for other processes."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _told_once(error: Exception, store: Any, timeout_minutes: float) -> Exception:
    """The error that this process raises for `error`, depending on what the others have recorded in `store`."""
    from torch.distributed import DistError

    # Gloo reports a lost connection as a RuntimeError with its own source file.
    is_lost = isinstance(error, DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error))
    if is_lost:
        why = "another process of this run has ended"
        if "Timed out" in str(error):
            why = (
                f"another process of this run has not answered for {timeout_minutes:g} min (timeout_minutes)"
            )
        error = PeerError(f"{why}, so this one can't continue")
    with suppress(RuntimeError):  # the store has ended, too
        others = store.add("errors", 0 if is_lost else 1)
        if (is_lost and others) or store.add(f"error {error}", 1) > 1:
            return AlreadyToldError(str(error))
    return error
