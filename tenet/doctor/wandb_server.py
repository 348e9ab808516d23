"""Weights & Biases: the mode, whether there are credentials, and whether the server answers."""

import threading
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tenet.doctor.findings import Finding, Plan, ok, problem, warning
from tenet.errors import ConfigError
from tenet.tracking import WandbTracking
from tenet.tracking.wandb_run import one_line, quiet_settings

ANSWER_TIMEOUT_S = 5.0


def check(plan: Plan) -> Iterator[Finding]:
    tracking = plan.experiment.tracking
    if not isinstance(tracking, WandbTracking):
        yield ok("W&B is off (tracking=none): all metrics are in the run folder", mode="none")
        return
    try:
        mode, reason = tracking.choose_mode()
    except ConfigError as error:
        yield problem(str(error), "wandb login", credentials=False)
        return
    except Exception as error:
        what = f"W&B is off, because wandb fails ({one_line(error)}): metrics are only in the run folder"
        yield problem(what, "pip install --force-reinstall wandb")
        return
    if mode != "online":
        because = "" if reason is None else f", because {reason}"
        what = f"W&B would be {mode}{because}: metrics are only in the run folder"
        if reason is None:
            yield ok(what, mode=mode)
        else:
            yield warning(what, "wandb login; or tracking.mode=offline, if that is intended", mode=mode)
        return
    server = quiet_settings().base_url
    trouble = find_trouble(server, timeout_s=ANSWER_TIMEOUT_S)
    figures = {"mode": "online", "credentials": True, "server": server, "answers": trouble is None}
    if trouble is None:
        yield ok(f"W&B would be online: credentials are set up, {server} answers", **figures)
    else:
        remedy = "check network and proxy, or tracking.mode=offline (`wandb sync` uploads later)"
        yield problem(f"W&B would be online, but {server} {trouble}", remedy, **figures)


def find_trouble(server: str, *, timeout_s: float) -> str | None:
    """Why the server does not answer; None if it answers with anything but its own failure. Sends no credentials."""
    results: list[str | None] = []

    def ask() -> None:
        try:
            with urlopen(Request(server, headers={"User-Agent": "tenet-training"}), timeout=timeout_s):
                results.append(None)
        except HTTPError as error:
            with error:
                results.append(f"answers {error.code} {error.reason}" if error.code >= 500 else None)
        except Exception as error:  # OSError, HTTPException, ValueError: urllib lets them pass
            results.append(f"can't be reached ({getattr(error, 'reason', None) or type(error).__name__})")

    # In a thread, because a name lookup can take longer than any timeout that can be set here.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return results[0] if results else f"does not answer within {timeout_s:g} s"
