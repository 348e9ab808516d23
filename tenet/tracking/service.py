"""wandb's settings, its credentials, and the process that it runs beside ours."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

END_TIMEOUT_S = 5  # ends in milliseconds where nothing holds it up


def quiet_settings() -> Any:
    """wandb's settings from its files and the environment, with its console output off."""
    import wandb

    return wandb.setup(wandb.Settings(silent=True)).settings


def has_credentials(settings: Any) -> bool:
    """Whether wandb would find an API key or identity token: its own lookup, without network or prompt."""
    if settings.api_key or settings.identity_token_file:
        return True
    try:
        from wandb.sdk.lib.wbauth import read_netrc_auth
    except ImportError:  # an older wandb (0.22, say)
        from wandb.sdk.lib.apikey import api_key

        return api_key(settings) is not None
    from wandb.errors import AuthenticationError

    try:
        return read_netrc_auth(host=settings.base_url) is not None
    except AuthenticationError:
        return True  # a malformed key is for wandb.init to complain about


def end_service() -> None:
    """End wandb's process: until then it holds on to the id of a run that failed to open. Killed if it hangs.

    wandb starts another for the next run.
    """

    def end() -> None:
        # wandb would end this process where its own has crashed.
        with suppress(Exception, SystemExit):
            import wandb

            wandb.teardown()

    # An older wandb (0.25 still) goes on asking a server that does not answer: do not wait for that.
    ending = Thread(target=end, daemon=True)
    ending.start()
    ending.join(END_TIMEOUT_S)
    if ending.is_alive():
        for process_id in service_process_ids():
            os.kill(process_id, signal.SIGKILL)
        ending.join(END_TIMEOUT_S)


def service_process_ids() -> list[int]:
    """wandb's processes among the children of this one; none where there is no /proc (macOS)."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may have ended since
            # 4711 (wandb-core) S 4700 ...: id, name, state, parent
            name, _, rest = file.read_text().partition("(")[2].rpartition(")")
            if name == "wandb-core" and int(rest.split()[1]) == os.getpid():
                found.append(int(file.parent.name))
    return found


def one_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
