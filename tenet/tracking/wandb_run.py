"""A W&B run in a thread of its own, so that a slow, hung or dead W&B never delays training.

Only the end of a run waits for W&B, for a limited time.
"""

import logging
import os
import shlex
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from tenet.errors import ConfigError
from tenet.failures import PREEMPTED
from tenet.files.names import METRICS_FILE

logger = logging.getLogger("tenet")

QUEUE_LIMIT = 10_000  # W&B takes thousands of rows a second, so a queue of this length means that it hangs
PATIENCE_S = 5.0  # before a message says that the run waits; also the margin on top of W&B's own timeouts
FAILED_FINISH_TIMEOUT_S = 10.0  # for a run that failed or was interrupted
PREEMPTED_FINISH_TIMEOUT_S = 4.0  # the machine is about to be taken away
WRITE_DELAY_S = 2.0  # wandb's process may still write its last records when `finish` has returned
STALL_S = 30.0  # wandb writes what it was sent within a second, on a machine that is not overloaded
TEARDOWN_TIMEOUT_S = 5.0  # wandb's process normally ends within milliseconds


class WandbRun:
    """Opens a W&B run, sends to it in order and closes it. After the first error it warns once and stops.

    open_run: returns what `wandb.init` returned, or raises; it may take `open_timeout_s`.
    finish_timeout_s: how long the end of the run waits for the upload.
    """

    def __init__(
        self, run_dir: Path, open_run: Callable[[], Any], *, open_timeout_s: float, finish_timeout_s: float
    ) -> None:
        self._run_dir = run_dir
        self._open_run = open_run
        self._open_timeout_s, self._finish_timeout_s = open_timeout_s, finish_timeout_s
        self._actions: SimpleQueue[Callable[[Any], object] | None] = SimpleQueue()
        self._run: Any = None
        self._opened = Event()
        self._works = True
        self._exit_code = 0
        self._thread = Thread(target=self._work, name="tenet-wandb", daemon=True)
        self._thread.start()

    def send(self, action: Callable[[Any], object]) -> None:
        """Queue a call with the W&B run; returns at once."""
        if self._actions.qsize() >= QUEUE_LIMIT:
            self._switch_off("it no longer accepts data")
        if self._works:
            self._actions.put(action)

    def finish(self, *, exit_code: int) -> None:
        """Close the run once everything is uploaded. What exceeds the time limit stays on disk."""
        self._exit_code = exit_code
        self._actions.put(None)
        open_limit_s, limit_s = self._open_timeout_s, self._finish_timeout_s + PATIENCE_S
        if exit_code != 0:
            open_limit_s = 0.0
            limit_s = PREEMPTED_FINISH_TIMEOUT_S if exit_code == PREEMPTED else FAILED_FINISH_TIMEOUT_S
        try:
            self._opened.wait(open_limit_s)
            self._thread.join(min(PATIENCE_S, limit_s))
            if self._thread.is_alive():
                logger.info("waiting for W&B's upload, at most %g s", limit_s)
                self._thread.join(max(0.0, limit_s - PATIENCE_S))
            if self._thread.is_alive():
                self._switch_off(f"it did not finish within {limit_s:g} s")
        finally:
            # wandb's exit hook would wait for a process that hangs.
            if self._thread.is_alive() or not self._works:
                shut_down_wandb()

    def _work(self) -> None:
        try:
            self._run = self._open_run()
        except Exception as error:
            self._switch_off(one_line(error))
            return
        finally:
            self._opened.set()
        sent_at: float | None = None  # when the first action since the last check of the file was sent
        size: int | None = None  # of the file at that time
        for action in iter(self._actions.get, None):
            if sent_at is not None and time.monotonic() - sent_at > STALL_S:
                self._try(partial(self._check_growth, size))
                sent_at = None
            if sent_at is None:
                size, sent_at = written_bytes(self._run), time.monotonic()
            if self._works:
                self._try(action)
        self._try(self._close)

    def _close(self, run: Any) -> None:
        if self._exit_code == PREEMPTED:
            run.mark_preempting()  # a sweep hands the run to its next agent
        before = written_bytes(run)
        run.finish(exit_code=self._exit_code)
        self._check_growth(before, run)

    def _check_growth(self, before: int | None, run: Any) -> None:
        """Warn if the file still has `before` bytes after more was sent: wandb reports nothing when its disk is full."""
        deadline = time.monotonic() + WRITE_DELAY_S
        while (now := written_bytes(run)) == before and now is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        if now is not None and (now == before or not shutil.disk_usage(self._run_dir / "wandb").free):
            self._switch_off("its own file no longer grows: the disk is full, or the file can't be written")

    def _try(self, action: Callable[[Any], object]) -> None:
        try:
            action(self._run)
        except Exception as error:
            self._switch_off(one_line(error))

    def _switch_off(self, why: str) -> None:
        works, self._works = self._works, False
        if works:
            rest = f"; to upload the rest: {sync_command(self._run_dir, self._run)}" if self._run else ""
            file = self._run_dir / METRICS_FILE
            logger.warning("W&B failed (%s); every metric is in %s%s", why, file, rest)


def written_bytes(run: Any) -> int | None:
    """The size of wandb's own file of the run; None if there is none."""
    with suppress(OSError, AttributeError, TypeError):
        return Path(run.settings.sync_file).stat().st_size
    return None


def sync_command(run_dir: Path, run: Any) -> str:
    """The command that uploads all offline parts of a folder's run, or the rest of an online part."""
    if run.offline:
        return shlex.join(["wandb", "sync", str(run_dir / "wandb")])
    return shlex.join(["wandb", "sync", "--include-online", run.settings.sync_dir])


def check_environment() -> None:
    """Prepare the variables WANDB_* for wandb, which refuses empty ones: these are removed.

    If wandb refuses a variable, raises ConfigError, which names it. Values may be secret, so none is shown.
    """
    import wandb

    settings_class = wandb.Settings  # a broken wandb lacks it
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        value = os.environ[name].strip()
        if name == "WANDB_TAGS":
            value = ",".join(tag for tag in map(str.strip, value.split(",")) if tag)
        if not value:
            del os.environ[name]
            continue
        os.environ[name] = value
        try:
            settings_class().update_from_env_vars({name: value})
        except Exception as error:  # of pydantic, or of wandb itself
            details = error.errors() if hasattr(error, "errors") else []
            reason = details[0]["msg"] if details else one_line(error)
            raise ConfigError(f"{name}: {reason}; correct the variable, or unset it") from error


def quiet_settings() -> Any:
    """wandb's settings from its files and the environment, with its console output off. Raises ConfigError."""
    import wandb

    check_environment()
    return wandb.setup(wandb.Settings(silent=True)).settings


def has_credentials(settings: Any) -> bool:
    """Whether wandb would find an API key or identity token: its own lookup, without network or prompt.

    `wandb.login` would write to the user's settings file, and refuses in offline mode.
    """
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib.wbauth import read_netrc_auth

    if settings.api_key or settings.identity_token_file:
        return True
    try:
        return read_netrc_auth(host=settings.base_url) is not None
    except AuthenticationError:
        return True  # wandb.init reports a malformed key


def shut_down_wandb() -> None:
    """Shut down wandb's background process, waiting TEARDOWN_TIMEOUT_S at most; the next run starts a new one.

    Until it is shut down, the process reserves the id of a run that failed to open, and wandb's exit hook waits for the
    process without a limit. `wandb.teardown` first removes that hook, so a teardown that hangs cannot delay the exit.
    """

    def shut_down() -> None:
        # SystemExit: wandb calls sys.exit if its process has crashed.
        with suppress(Exception, SystemExit):
            import wandb

            wandb.teardown()

    thread = Thread(target=shut_down, daemon=True)
    thread.start()
    thread.join(TEARDOWN_TIMEOUT_S)


def one_line(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
