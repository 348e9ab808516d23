"""Weights & Biases as configured: which of its runs a folder belongs to, and how that run is opened."""

import logging
import os
import secrets
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.files.json import read_json, write_json
from tenet.files.names import ENVIRONMENT_FILE, METRICS_FILE, PATCH_FILE, WANDB_FILE
from tenet.tracking.service import end_service, has_credentials, one_line, quiet_settings
from tenet.tracking.tracker import ARTIFACT_KINDS, Tracker
from tenet.tracking.wandb_run import PATIENCE_S, WandbRun, sync_command

logger = logging.getLogger("tenet")

ADDRESS = {"id", "project", "entity"}  # of a W&B run, among what WANDB_FILE holds
CODE_FILES = (ENVIRONMENT_FILE, PATCH_FILE)
WANDB_HEADER_BYTES = 7  # of the file that `wandb sync` uploads
FLUSH_INTERVAL_S = 1.0  # of that file; a killed process loses so much of it


@dataclass(frozen=True)
class WandbTracking:
    """Weights & Biases beside the files of the run folder.

    `mode` is online, offline, or auto: what WANDB_MODE or `wandb offline` says, else online where W&B has
    credentials, else offline. Never a prompt. `name` (else the run folder's), `group`, `job_type`, `tags` and
    `notes` are W&B's. `code`: whether the commit and the changes since are sent. `artifacts`: which files are
    kept in W&B: none, weights, or checkpoints too. An end of a run waits `finish_timeout_s` for its upload.
    """

    project: str = "tenet"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    job_type: str = "train"
    tags: Sequence[str] = ()
    notes: str | None = None
    mode: str = "auto"
    code: bool = True
    artifacts: str = "none"
    init_timeout_s: float = 30.0
    finish_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "online", "offline"):
            raise ConfigError(f"tracking.mode={self.mode} is none of auto, online, offline")
        if self.artifacts not in ARTIFACT_KINDS:
            raise ConfigError(f"tracking.artifacts={self.artifacts} is none of {', '.join(ARTIFACT_KINDS)}")
        for name in ("init_timeout_s", "finish_timeout_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"tracking.{name}={getattr(self, name)} is not above 0")
        if isinstance(self.tags, str):
            raise ConfigError(f"tracking.tags={self.tags} is not a list; write tracking.tags=[{self.tags}]")

    def check(self) -> None:
        """Raise ConfigError if online is asked for and no credentials are set up."""
        try:
            self.choose_mode()
        except ConfigError:
            raise
        except Exception:  # wandb is missing, or broken: `start` says so, and goes on without
            return

    def start(
        self,
        run_dir: Path,
        *,
        config: Mapping[str, Any],
        run_id: str | None = None,
        job_type: str | None = None,
        resume: bool = False,
    ) -> Tracker:
        """A tracker on a W&B run that opens meanwhile, offline where no server answers.

        run_id: what the id of a new W&B run is made from. With `resume`, the W&B run that `run_dir` remembers
        goes on: its name, group, job type, tags and notes stay as they are, and keys of `config` overwrite
        those of the same name; if there is none, a new one is told what the folder's files hold.
        Raises ConfigError if online is asked for and no credentials are set up.
        """
        # Crash reports to wandb's makers would go to a server that may not answer, and hold up the exit.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        run_dir.mkdir(parents=True, exist_ok=True)
        try:
            mode, reason = self.choose_mode()
        except ConfigError:
            raise
        except Exception as error:  # wandb is missing, or broken
            logger.warning("W&B is off (%s); every metric is in %s", one_line(error), run_dir / METRICS_FILE)
            return Tracker(run_dir)
        if mode == "disabled":
            return Tracker(run_dir)
        known = read_json(run_dir / WANDB_FILE) if resume else {}
        goes_on = _is_address(known) and os.environ.get("WANDB_RUN_ID", known["id"]) == known["id"]
        if goes_on:
            place = {name: known[name] for name in ADDRESS} | {"resume": "allow"}
            if has_parts_to_upload(run_dir) and mode == "online":
                mode, reason = "offline", "earlier parts of this run are not uploaded yet"
        else:
            place = self._new_place(run_dir, job_type=job_type)
        ids = new_ids(None if goes_on else run_id)
        wandb_run = WandbRun(
            run_dir,
            partial(self._open, run_dir, mode, reason, ids=ids, options={**place, "config": dict(config)}),
            open_timeout_s=len(ids) * self.init_timeout_s + 2 * PATIENCE_S,
            finish_timeout_s=self.finish_timeout_s,
        )
        tracker = Tracker(run_dir, wandb_run=wandb_run, artifacts=self.artifacts)
        if resume and not goes_on:
            tracker.catch_up()
        return tracker

    def report_finished(self, run_dir: Path, *, config: Mapping[str, Any], run_id: str) -> None:
        """Give the W&B agent that asked for it the figures of a run that was trained before."""
        if "WANDB_SWEEP_ID" in os.environ:
            self.start(run_dir, config=config, run_id=run_id, resume=True).finish()

    def choose_mode(self) -> tuple[str, str | None]:
        """online, offline or disabled, and the reason if the user did not ask for it."""
        settings = quiet_settings()
        asked = self.mode
        if asked == "auto":
            # "online" is also wandb's default, so only the environment tells whether somebody wants it.
            asked = os.environ.get("WANDB_MODE") or ("auto" if settings.mode == "online" else settings.mode)
        if asked == "disabled":
            return "disabled", None
        if asked in ("offline", "dryrun"):
            return "offline", None
        if has_credentials(settings):
            return "online", None
        if asked == "auto":
            return "offline", "no API key is set up"
        key = "WANDB_MODE" if self.mode == "auto" else "tracking.mode"
        raise ConfigError(
            f"{key}={asked} needs an API key, and none is set up for {settings.base_url}; run `wandb login`, "
            "set WANDB_API_KEY, or choose tracking.mode=offline or tracking=none"
        )

    def _new_place(self, run_dir: Path, *, job_type: str | None) -> dict[str, Any]:
        """Where a new W&B run belongs; a sweep decides that itself for its runs."""
        place: dict[str, Any] = {
            "name": self.name or f"{run_dir.resolve().parent.name}/{run_dir.name}",
            "group": self.group,
            "job_type": job_type or self.job_type,
            "tags": list(self.tags),
            "notes": self.notes,
        }
        if "WANDB_SWEEP_ID" not in os.environ:
            place |= {"project": self.project, "entity": self.entity}
        return place

    def _open(
        self,
        run_dir: Path,
        mode: str,
        reason: str | None,
        *,
        ids: Sequence[Mapping[str, str]],
        options: Mapping[str, Any],
    ) -> Any:
        """The W&B run, under the first of `ids` that is free; offline where no server answers."""
        for chosen in ids if mode == "online" else ():
            try:
                return self._opened(run_dir, "online", None, {**options, **chosen})
            except Exception as error:
                end_service()
                reason = f"no run could be opened online: {one_line(error)}"
                if chosen is ids[-1] or not is_taken(error):
                    break
                logger.info("W&B has, or had, a run %s already: this one gets an id of its own", chosen["id"])
        return self._opened(run_dir, "offline", reason, {**options, **ids[-1]})

    def _opened(self, run_dir: Path, mode: Any, reason: str | None, options: Mapping[str, Any]) -> Any:
        """The W&B run, once the folder remembers it and the user is told."""
        import wandb

        quiet_settings()
        settings = self._settings(run_dir, allowed=set(wandb.Settings.model_fields))
        # create_new: a run that something else left open in this process must not receive our metrics.
        run = wandb.init(
            **options,
            dir=str(run_dir.resolve()),
            mode=mode,
            reinit="create_new",
            settings=wandb.Settings(**settings),
        )
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        for name in CODE_FILES if self.code else ():
            if (run_dir / name).exists():
                run.save(str(run_dir / name), base_path=str(run_dir), policy="now")
        # Asked for its address, an offline run complains.
        address = {"id": run.id, "project": run.project, "entity": run.entity or None}
        write_json(
            run_dir / WANDB_FILE, address | {"url": run.url if mode == "online" else None, "mode": mode}
        )
        announce(run_dir, run, reason)
        return run

    def _settings(self, run_dir: Path, *, allowed: Container[str]) -> dict[str, Any]:
        """wandb's settings beside the arguments of `wandb.init`; those that an older wandb lacks are left out."""
        # wandb would look at the repository around the run folder, which need not be that of the code.
        git = read_json(run_dir / ENVIRONMENT_FILE).get("git") if self.code else None
        settings = {
            "console": "off",
            "init_timeout": self.init_timeout_s,
            "finish_timeout": self.finish_timeout_s,
            "finish_timeout_raises": True,
            "x_transaction_log_flush_interval": FLUSH_INTERVAL_S,
            "disable_git": True,
            "disable_code": not self.code,
            "git_commit": git and git["commit"],
            "git_remote_url": git and git["remote"],
        }
        return {name: value for name, value in settings.items() if name in allowed and value is not None}


def new_ids(run_id: str | None) -> list[dict[str, str]]:
    """Ids to try in this order for a new W&B run, as arguments of `wandb.init`.

    A run under an id that is taken would be mixed with what is there. Only a server can tell, and `wandb sync`
    doesn't ask it: offline the last one is used, which nobody else has.
    """
    if "WANDB_RUN_ID" in os.environ:  # an agent's, who may ask for the same run twice
        return [{"resume": "allow"}]
    if run_id is None:
        return [{}]
    return [{"id": run_id, "resume": "never"}, {"id": f"{run_id}-{secrets.token_hex(4)}"}]


def has_parts_to_upload(run_dir: Path) -> bool:
    """Whether offline parts wait for `wandb sync`, which marks what it has uploaded."""
    waits = False
    for part in (run_dir / "wandb").glob("offline-run-*/run-*.wandb"):
        if part.stat().st_size <= WANDB_HEADER_BYTES:
            # Of a process that was killed at once: `wandb sync` would stop at it, and upload no other.
            part.rename(part.with_suffix(".empty"))
        else:
            waits = waits or not part.with_name(f"{part.name}.synced").exists()
    return waits


def is_taken(error: Exception) -> bool:
    from wandb.errors import UsageError

    return isinstance(error, UsageError) or "previously created and deleted" in str(error)


def announce(run_dir: Path, run: Any, reason: str | None) -> None:
    if not run.offline:
        logger.info("W&B run %s", run.url)
        return
    level = logging.INFO if reason is None else logging.WARNING
    why = "" if reason is None else f" ({reason})"
    command = sync_command(run_dir, run)
    logger.log(level, "W&B is offline%s, its files in the run's folder; to upload them: %s", why, command)


def _is_address(known: Mapping[str, Any]) -> bool:
    """Whether these values, from a file that may be damaged, name a W&B run."""
    texts = [known.get("id"), known.get("project"), known.get("entity") or "the default"]
    return known.keys() >= ADDRESS and all(isinstance(text, str) and text for text in texts)
