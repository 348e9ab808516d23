"""A W&B run in a thread of its own: W&B may be slow, hang or die, and nobody who logs waits for it.

Only the end of a run waits for W&B, and not for ever.
"""

import json
import logging
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

from tenet.failures import PREEMPTED
from tenet.files.names import METRICS_FILE
from tenet.tracking.service import end_service, one_line

logger = logging.getLogger("tenet")

QUEUE_LIMIT = 10_000  # W&B takes thousands of rows a second: where so many wait, it hangs
PATIENCE_S = 5.0  # until a word about waiting; and beyond W&B's own time limits, before it is ended by force
FAILED_FINISH_TIMEOUT_S = 10.0  # of a run that fails or is interrupted
PREEMPTED_FINISH_TIMEOUT_S = 4.0  # its machine is about to go
# The parts of wandb whose errors mean that something is missing on the server (others watch the hardware).
UPLOADING_PARTS = ("filestream", "runupserter", "runfiles", "file transfer", "filetransfer", "artifact")


class WandbRun:
    """Opens a W&B run, sends to it in order and closes it; its first trouble is one warning and its end.

    open_run: gives what `wandb.init` returned, or raises; it may take `open_timeout_s`.
    finish_timeout_s: how long to wait for the upload once the run has ended.
    """

    def __init__(
        self,
        run_dir: Path,
        open_run: Callable[[], Any],
        *,
        open_timeout_s: float,
        finish_timeout_s: float,
    ) -> None:
        self._run_dir = run_dir
        self._open_run = open_run
        self._open_timeout_s, self._finish_timeout_s = open_timeout_s, finish_timeout_s
        self._actions: SimpleQueue[Callable[[Any], object] | None] = SimpleQueue()
        self._run: Any = None
        self._opened = Event()
        self._works = True
        self._lock = Lock()
        self._exit_code = 0
        self._thread = Thread(target=self._work, name="tenet-wandb", daemon=True)
        self._thread.start()

    def log(self, row: Mapping[str, Any]) -> None:
        self._send(lambda run: run.log(dict(row)))

    def log_all(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """What a folder knows already, as one action: it may be more than QUEUE_LIMIT."""

        def send(run: Any) -> None:
            for row in rows:
                run.log(dict(row))

        self._send(send)

    def summarize(self, metrics: Mapping[str, Any]) -> None:
        self._send(lambda run: run.summary.update(dict(metrics)))

    def log_image(self, name: str, path: Path) -> None:
        def send(run: Any) -> None:
            import wandb

            run.log({name: wandb.Image(str(path))})

        self._send(send)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        data = [list(row) for row in rows]

        def send(run: Any) -> None:
            import wandb

            run.log({name: wandb.Table(columns=list(columns), data=data, allow_mixed_types=True)})

        self._send(send)

    def log_artifact(self, kind: str, paths: Sequence[Path], *, metadata: Mapping[str, Any]) -> None:
        def send(run: Any) -> None:
            import wandb

            # What W&B's registry takes for weights is of the type "model".
            kind_in_wandb = "model" if kind == "weights" else kind
            artifact = wandb.Artifact(f"{kind}-{run.id}", type=kind_in_wandb, metadata=dict(metadata))
            for path in paths:
                artifact.add_file(str(path), skip_cache=True)
            run.log_artifact(artifact)

        self._send(send)

    def finish(self, *, exit_code: int) -> None:
        """Close the run when all is uploaded. What is not within the time limit stays on disk."""
        self._exit_code = exit_code
        self._actions.put(None)
        open_limit_s, limit_s = self._open_timeout_s, self._finish_timeout_s + PATIENCE_S
        if exit_code == PREEMPTED:
            open_limit_s, limit_s = 0.0, PREEMPTED_FINISH_TIMEOUT_S
        elif exit_code != 0:
            open_limit_s, limit_s = 0.0, FAILED_FINISH_TIMEOUT_S
        try:
            self._opened.wait(open_limit_s)
            self._thread.join(min(PATIENCE_S, limit_s))
            if self._thread.is_alive():
                logger.info("waiting for W&B's upload, at most %g s", limit_s)
                self._thread.join(max(0.0, limit_s - PATIENCE_S))
        except KeyboardInterrupt:
            end_service()
            raise
        if self._thread.is_alive():
            self._switch_off(f"it has not ended within {limit_s:g} s")
        if not self._works:
            # A process of W&B's that hangs would hold up the exit of ours.
            end_service()

    def _send(self, action: Callable[[Any], object]) -> None:
        if not self._works:
            return
        if self._actions.qsize() >= QUEUE_LIMIT:
            self._switch_off("it takes nothing any more")
            return
        self._actions.put(action)

    def _work(self) -> None:
        try:
            self._run = self._open_run()
        except Exception as error:
            self._switch_off(one_line(error))
            return
        finally:
            self._opened.set()
        for action in iter(self._actions.get, None):
            if self._works:
                self._try(action)
        self._try(self._close)

    def _close(self, run: Any) -> None:
        if self._exit_code == PREEMPTED:
            run.mark_preempting()  # a sweep gives the run to its next agent
        run.finish(exit_code=self._exit_code)
        if not run.offline and (lost := upload_error(Path(run.settings.log_internal))):
            raise ConnectionError(lost)

    def _try(self, action: Callable[[Any], object]) -> None:
        try:
            action(self._run)
        except Exception as error:
            self._switch_off(one_line(error))

    def _switch_off(self, why: str) -> None:
        with self._lock:
            works, self._works = self._works, False
        if works:
            rest = (
                "" if self._run is None else f"; to upload the rest: {sync_command(self._run_dir, self._run)}"
            )
            logger.warning(
                "W&B failed (%s); every metric is in %s%s", why, self._run_dir / METRICS_FILE, rest
            )


def sync_command(run_dir: Path, run: Any) -> str:
    """What uploads all offline parts of the folder's run, or this part, which was not uploaded whole."""
    if run.offline:
        return shlex.join(["wandb", "sync", str(run_dir / "wandb")])
    return shlex.join(["wandb", "sync", "--include-online", run.settings.sync_dir])


def upload_error(log: Path) -> str | None:
    """What wandb's log tells of an upload that was given up: `finish` is silent about that."""
    with suppress(OSError, ValueError):  # no log, or another form of it, tells nothing
        for line in log.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["level"] == "ERROR" and record["msg"].startswith(UPLOADING_PARTS):
                return ": ".join(record[key] for key in ("msg", "error") if key in record)
    return None
