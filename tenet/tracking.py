"""A run's metrics: always into its folder, and into Weights & Biases where that is configured.

W&B is a guest: its trouble costs one warning, never the training. The local files hold every scalar.
"""

import json
import logging
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

from tenet.errors import ConfigError
from tenet.metrics_file import MetricsFile, Scalars, finite_or_null, read_json, write_json

logger = logging.getLogger("tenet")


METRICS_FILE = "metrics.jsonl"
SUMMARY_FILE = "summary.json"
WANDB_FILE = "wandb.json"
TEARDOWN_TIMEOUT_S = 5  # ends in milliseconds where nothing holds it up
FINISH_TIMEOUT_S = 600  # what is not uploaded by then is on disk, and the next job of a sweep may start


class Tracker:
    """Takes the metrics of one run; a context manager that marks the run as failed on any exception."""

    def __init__(self, run_dir: Path, *, wandb_run: Any = None) -> None:
        """`wandb_run` is what `wandb.init` returned, and is finished with this tracker; None: files alone."""
        self.metrics_file = MetricsFile(run_dir / METRICS_FILE)
        self._summary_path = run_dir / SUMMARY_FILE
        self._wandb_run = wandb_run
        self._wandb_works = wandb_run is not None

    def log(self, metrics: Scalars, *, step: int) -> None:
        """Append one line to the metrics file and one point to each W&B chart."""
        self.metrics_file.write(metrics, step=step)
        self._send(lambda run: run.log({"step": step, **metrics}))

    def rewind(self, step: int) -> None:
        """Forget what a run that goes on from the checkpoint of `step` will measure again."""
        self.metrics_file.drop_after(step)

    def summarize(self, metrics: Scalars, *, instead_of: str | None = None) -> None:
        """Set the run's final figures, beside those already in `summary.json` (NaN and infinities: null).

        instead_of: older figures whose names begin so are dropped; "" drops all.
        """
        known = read_json(self._summary_path)
        if instead_of is not None:
            known = {name: value for name, value in known.items() if not name.startswith(instead_of)}
        write_json(self._summary_path, {**known, **finite_or_null(metrics)})
        self._send(lambda run: run.summary.update(dict(metrics)))

    def log_image(self, name: str, path: Path) -> None:
        """Show an image file in W&B."""

        def send(run: Any) -> None:
            import wandb

            run.log({name: wandb.Image(str(path))})

        self._send(send)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Show a table in W&B; a column may mix types."""

        def send(run: Any) -> None:
            import wandb

            data = [list(row) for row in rows]
            run.log({name: wandb.Table(columns=list(columns), data=data, allow_mixed_types=True)})

        self._send(send)

    def finish(self, *, exit_code: int = 0) -> None:
        """Close the W&B run (waits for its upload); harmless a second time."""
        run, self._wandb_run = self._wandb_run, None
        if run is None:
            return
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:
            self._switch_off(error)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.finish(exit_code=0 if kind is None else 1)

    def _send(self, action: Callable[[Any], None]) -> None:
        if self._wandb_run is None or not self._wandb_works:
            return
        try:
            action(self._wandb_run)
        except Exception as error:
            self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        if self._wandb_works:
            logger.warning(
                "W&B is off for the rest of this run (%s); every metric is in %s, and `wandb sync` uploads "
                "what W&B's own files hold",
                _one_line(error),
                self.metrics_file.path,
            )
        self._wandb_works = False


@dataclass(frozen=True)
class NoTracking:
    """The files of the run folder, nothing else."""

    def start(
        self, run_dir: Path, *, config: Mapping[str, Any], job_type: str | None = None, resume: bool = False
    ) -> Tracker:
        """A tracker without W&B; the arguments are those of `WandbTracking.start`."""
        return Tracker(run_dir)


@dataclass(frozen=True)
class WandbTracking:
    """Weights & Biases beside the files of the run folder.

    `mode` is online, offline, or auto: what WANDB_MODE or `wandb offline` says, else online where W&B has
    credentials, else offline. Never a prompt. `name` (else the run folder's), `group`, `job_type`, `tags` and
    `notes` are W&B's.
    """

    project: str = "tenet"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    job_type: str = "train"
    tags: Sequence[str] = ()
    notes: str | None = None
    mode: str = "auto"
    init_timeout_s: float = 30

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "online", "offline"):
            raise ConfigError(f"tracking.mode={self.mode} is none of auto, online, offline")
        if self.init_timeout_s <= 0:
            raise ConfigError(f"tracking.init_timeout_s={self.init_timeout_s} is not above 0")
        if isinstance(self.tags, str):
            raise ConfigError(f"tracking.tags={self.tags} is not a list; write tracking.tags=[{self.tags}]")

    def start(
        self, run_dir: Path, *, config: Mapping[str, Any], job_type: str | None = None, resume: bool = False
    ) -> Tracker:
        """Open the W&B run, and a tracker on it.

        With `resume`, go on with the W&B run that `run_dir` remembers, if any: its name, group, job type,
        tags and notes stay as they are, and keys of `config` overwrite those of the same name. Where no
        server answers within `init_timeout_s`, the run is offline.
        Raises ConfigError if online is asked for and no credentials are set up.
        """
        # Crash reports to wandb's makers would go to a server that may not answer, and hold up the exit.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        run_dir.mkdir(parents=True, exist_ok=True)
        mode, reason = self._choose_mode()
        if mode == "disabled":
            return Tracker(run_dir)
        options = self._init_options(run_dir, config=config, job_type=job_type, resume=resume)
        run, error = self._try_init(mode, options)
        if run is None and mode == "online":
            mode, reason = "offline", f"no run could be opened online: {error}"
            run, error = self._try_init(mode, options)
        if run is None:
            logger.warning("W&B is off for this run (%s); metrics go to %s", error, run_dir / METRICS_FILE)
            return Tracker(run_dir)
        _remember_run(run_dir, run, mode=mode)
        _announce(run, mode=mode, reason=reason)
        return Tracker(run_dir, wandb_run=run)

    def _choose_mode(self) -> tuple[str, str | None]:
        """online, offline or disabled, and the reason if the user did not ask for it."""
        settings = _quiet_wandb_settings()
        asked = self.mode
        if asked == "auto":
            # "online" is also wandb's default, so only the environment tells whether somebody wants it.
            asked = os.environ.get("WANDB_MODE") or ("auto" if settings.mode == "online" else settings.mode)
        if asked == "disabled":
            return "disabled", None
        if asked in ("offline", "dryrun"):
            return "offline", None
        if _has_credentials(settings):
            return "online", None
        if asked == "auto":
            return "offline", "no API key is set up"
        key = "WANDB_MODE" if self.mode == "auto" else "tracking.mode"
        raise ConfigError(
            f"{key}={asked} needs an API key, and none is set up for {settings.base_url}; run `wandb login`, "
            "set WANDB_API_KEY, or choose tracking.mode=offline or tracking=none"
        )

    def _init_options(
        self, run_dir: Path, *, config: Mapping[str, Any], job_type: str | None, resume: bool
    ) -> dict[str, Any]:
        """Arguments of `wandb.init` for a new run, or for the one that the folder remembers."""
        options: dict[str, Any] = {"dir": str(run_dir.resolve()), "config": dict(config)}
        remembered = run_dir / WANDB_FILE
        if resume and remembered.exists():
            known = json.loads(remembered.read_text())
            return options | {name: known[name] for name in ("id", "project", "entity")} | {"resume": "allow"}
        if "WANDB_SWEEP_ID" not in os.environ:  # a sweep decides where its runs belong
            options |= {"project": self.project, "entity": self.entity}
        return options | {
            "name": self.name or f"{run_dir.resolve().parent.name}/{run_dir.name}",
            "group": self.group,
            "job_type": job_type or self.job_type,
            "tags": list(self.tags),
            "notes": self.notes,
        }

    def _try_init(self, mode: Any, options: Mapping[str, Any]) -> tuple[Any, str | None]:
        """The opened W&B run, or what kept it from opening."""
        import wandb

        _quiet_wandb_settings()
        quiet: dict[str, Any] = {"console": "off", "init_timeout": self.init_timeout_s}
        if "finish_timeout" in wandb.Settings.model_fields:  # newer than the oldest wandb we take
            quiet |= {"finish_timeout": FINISH_TIMEOUT_S, "finish_timeout_raises": True}
        try:
            # create_new: a run that something else left open in this process must not receive our metrics.
            run = wandb.init(**options, mode=mode, reinit="create_new", settings=wandb.Settings(**quiet))
            run.define_metric("step")
            run.define_metric("*", step_metric="step")
        except Exception as error:
            _end_wandb_service()
            return None, _one_line(error)
        return run, None


def _quiet_wandb_settings() -> Any:
    """wandb's settings from its files and the environment, with its console output off."""
    import wandb

    return wandb.setup(wandb.Settings(silent=True)).settings


def _end_wandb_service() -> None:
    """End wandb's background process: until then it holds on to the id of a run that failed to open."""
    import wandb

    def end() -> None:
        with suppress(Exception, SystemExit):  # wandb would end this process where its own has crashed
            wandb.teardown()

    # An older wandb (0.25 still) goes on asking a server that does not answer: do not wait for that.
    ending = Thread(target=end, daemon=True)
    ending.start()
    ending.join(timeout=TEARDOWN_TIMEOUT_S)


def _has_credentials(settings: Any) -> bool:
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


def _remember_run(run_dir: Path, run: Any, *, mode: str) -> None:
    """Keep the W&B run's address, for a resumed run or a later evaluation of the same folder."""
    address = {"id": run.id, "project": run.project, "entity": run.entity or None}
    # Asked for its address, an offline run complains.
    write_json(run_dir / WANDB_FILE, address | {"url": run.url if mode == "online" else None, "mode": mode})


def _announce(run: Any, *, mode: str, reason: str | None) -> None:
    if mode == "online":
        logger.info("W&B run %s", run.url)
        return
    level = logging.INFO if reason is None else logging.WARNING
    why = "" if reason is None else f" ({reason})"
    upload = shlex.join(["wandb", "sync", run.settings.sync_dir])
    logger.log(level, "W&B is offline%s, its files in the run's folder; to upload them: %s", why, upload)


def _one_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
