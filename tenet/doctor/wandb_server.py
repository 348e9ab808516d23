"""Would the run be seen in Weights & Biases? The mode, whether there are credentials, whether the server answers."""

import threading
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tenet.doctor.findings import Finding, ok, problem, warning
from tenet.doctor.plan import Plan
from tenet.errors import ConfigError
from tenet.tracking import NoTracking
from tenet.tracking.service import one_line, quiet_settings

ANSWER_TIMEOUT_S = 5.0
OFFLINE = "tracking.mode=offline (`wandb sync` uploads later)"


def check(plan: Plan) -> Iterator[Finding]:
    configured = plan.build("tracking")
    if isinstance(configured, NoTracking):
        yield ok("W&B is off (tracking=none): all metrics are in the run folder", mode="none")
        return
    try:
        mode, reason = configured.choose_mode()
    except ConfigError as error:
        yield problem(str(error), "wandb login", credentials=False)
        return
    except Exception as error:
        told = f"W&B is off, since wandb fails ({one_line(error)}): metrics are in the run folder alone"
        yield problem(told, "pip install --force-reinstall wandb")
        return
    if mode != "online":
        told = f"W&B would be {mode}{'' if reason is None else f', because {reason}'}: metrics are in the run folder"
        if reason is None:
            yield ok(told, mode=mode)
        else:
            yield warning(told, "wandb login; or tracking.mode=offline, if that is meant", mode=mode)
        return
    server = quiet_settings().base_url
    trouble = what_keeps_it_from_answering(server, timeout_s=ANSWER_TIMEOUT_S)
    figures = {"mode": mode, "credentials": True, "server": server, "answers": trouble is None}
    if trouble is None:
        yield ok(f"W&B would be online: credentials are set up, {server} answers", **figures)
    else:
        yield problem(
            f"W&B would be online, but {server} {trouble}",
            f"check network and proxy, or {OFFLINE}",
            **figures,
        )


def what_keeps_it_from_answering(server: str, *, timeout_s: float) -> str | None:
    """None where the server answers with anything but its own failure. Sends no credentials."""
    told: list[str | None] = []

    def ask() -> None:
        try:
            with urlopen(Request(server, headers={"User-Agent": "tenet-training"}), timeout=timeout_s):
                told.append(None)
        except HTTPError as error:
            with error:
                told.append(f"answers {error.code} {error.reason}" if error.code >= 500 else None)
        except (
            Exception
        ) as error:  # urllib lets through what it does not know: OSError, HTTPException, ValueError
            told.append(f"can't be reached ({getattr(error, 'reason', None) or type(error).__name__})")

    # In a thread, because looking up a name may hang for longer than any timeout that can be set here.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return told[0] if told else f"does not answer within {timeout_s:g} s"
