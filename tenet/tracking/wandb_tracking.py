"""Weights & Biases as configured: which of its runs a folder belongs to, and how that run is opened."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from tenet.errors import ConfigError
from tenet.files.json import read_json, write_json
from tenet.files.names import CONFIG_FILE, ENVIRONMENT_FILE, METRICS_FILE, PATCH_FILE, WANDB_FILE
from tenet.rules import above
from tenet.tracking.names import chosen_by_agent, setting
from tenet.tracking.tracker import Tracker, Tracking
from tenet.tracking.wandb_ids import has_parts_to_upload, is_taken, new_ids, remembered_run
from tenet.tracking.wandb_run import (
    PATIENCE_S,
    WandbRun,
    has_credentials,
    one_line,
    quiet_settings,
    shut_down_wandb,
    sync_command,
)

logger = logging.getLogger("tenet")

CODE_FILES = (ENVIRONMENT_FILE, PATCH_FILE)
# W&B settings for a command that adds to a training's run: runtime, hardware and system metrics stay the training's.
ADDING = {"x_server_side_derived_summary": True, "x_primary": False, "x_disable_stats": True}
NOT_SHOWN = ("_target_", "tracking", "resume", "rerun")  # keys that say nothing of the experiment
FLUSH_INTERVAL_S = 1.0  # of that file: a killed process loses at most this much


@dataclass(frozen=True)
class WandbTracking(Tracking):
    """Weights & Biases, in addition to the files of the run folder. It never prompts.

    mode: online, offline, or auto: as WANDB_MODE or `wandb offline` says, else online if W&B has credentials.
    project, entity, name, group, job_type, tags, notes: as in `wandb.init`. What is not given is read from W&B's own
    settings (WANDB_PROJECT, WANDB_NAME, WANDB_TAGS, ...); the project is then "tenet", the name what a sweep's agent chose
    or the run folder's, and the job type "train".
    code: whether the commit and the uncommitted changes are sent.
    artifacts: which files W&B keeps: none, weights, or checkpoints (which includes weights).
    cells: whether the error of every cell is a column too, in addition to the table of cells.
    init_timeout_s: how long a server may take to answer. finish_timeout_s: how long the end of a run waits for the upload.
    """

    project: str | None = None
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: Sequence[str] = ()
    notes: str | None = None
    mode: Literal["auto", "online", "offline"] = "auto"
    code: bool = True
    artifacts: Literal["none", "weights", "checkpoints"] = "none"
    cells: bool = False
    init_timeout_s: Annotated[float, above(0)] = 30.0
    finish_timeout_s: Annotated[float, above(0)] = 60.0

    def check(self) -> None:
        try:
            self.choose_mode()
        except ConfigError:
            raise
        except Exception:  # wandb is missing or broken: `start` warns and continues without it
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
        """A tracker whose W&B run opens in the background, offline if no server answers.

        A resumed W&B run keeps its name, group, job type, tags and notes, and, if a `job_type` is given, its step, runtime
        and system metrics; values in `config` overwrite those of the same name. If the folder belongs to no W&B run, a new
        one receives the folder's earlier metrics.
        Raises ConfigError if the mode is online and no credentials are set up.
        """
        # wandb's crash reports would delay the exit if their server does not answer.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        run_dir.mkdir(parents=True, exist_ok=True)
        try:
            mode, reason = self.choose_mode()
        except ConfigError:
            raise
        except Exception as error:  # wandb is missing or broken
            logger.warning("W&B is off (%s); every metric is in %s", one_line(error), run_dir / METRICS_FILE)
            return Tracker(run_dir)
        if mode == "disabled":
            return Tracker(run_dir)
        known = remembered_run(run_dir) if resume else None
        if known and mode == "online" and has_parts_to_upload(run_dir):
            mode, reason = "offline", "earlier parts of this run are not uploaded yet"
        place = known or self._new_place(run_dir, job_type=job_type)
        ids = new_ids(None if known else run_id)
        settings = ADDING if known and job_type else {}
        wandb_run = WandbRun(
            run_dir,
            partial(
                self._open,
                run_dir,
                mode,
                reason,
                ids,
                settings,
                {**place, "config": shown_config(config) | {"setting": setting(config)}},
            ),
            open_timeout_s=len(ids) * self.init_timeout_s + 2 * PATIENCE_S,
            finish_timeout_s=self.finish_timeout_s,
        )
        tracker = Tracker(run_dir, wandb_run=wandb_run, artifacts=self.artifacts, cells=self.cells)
        if resume and known is None:
            tracker.catch_up()
        return tracker

    def report_finished(self, run_dir: Path, *, config: Mapping[str, Any], run_id: str) -> None:
        if "WANDB_SWEEP_ID" in os.environ:
            self.start(run_dir, config=config, run_id=run_id, resume=True).finish()

    def choose_mode(self) -> tuple[str, str | None]:
        """online, offline or disabled, and the reason if the user did not ask for it.

        Raises ConfigError if the mode is online and no credentials are set up.
        """
        settings = quiet_settings()
        asked: str = self.mode
        if asked == "auto":
            # "online" is also wandb's default, so only the environment shows whether the user chose it.
            asked = os.environ.get("WANDB_MODE") or ("auto" if settings.mode == "online" else settings.mode)
        if asked in ("disabled", "offline", "dryrun"):
            return asked.replace("dryrun", "offline"), None
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
        """Arguments of `wandb.init` that describe a new run; a sweep chooses project and entity itself.

        job_type: of a command other than the training; the configured one is the training's.
        """
        settings, folder = quiet_settings(), run_dir.resolve()
        typed_type = self.job_type if job_type is None else None
        place = {
            "name": self.name
            or settings.run_name
            or chosen_by_agent()
            or f"{folder.parent.name}/{folder.name}",
            "group": self.group or settings.run_group,
            "job_type": typed_type or settings.run_job_type or job_type or "train",
            "tags": list(self.tags or settings.run_tags or ()),
            "notes": self.notes or settings.run_notes,
        }
        if "WANDB_SWEEP_ID" in os.environ:
            return place
        return {
            **place,
            "project": self.project or settings.project or "tenet",
            "entity": self.entity or settings.entity,
        }

    def _open(
        self,
        run_dir: Path,
        mode: str,
        reason: str | None,
        ids: Sequence[Mapping[str, str]],
        settings: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Any:
        """Open the W&B run under the first of `ids` that is free; offline if no server answers."""
        for chosen in ids if mode == "online" else ():
            try:
                return self._init(run_dir, "online", None, settings, {**options, **chosen})
            except Exception as error:
                shut_down_wandb()
                reason = f"no run could be opened online: {one_line(error)}"
                if chosen is ids[-1] or not is_taken(error):
                    break
                logger.info("W&B already has or had a run %s: this run gets an id of its own", chosen["id"])
        return self._init(run_dir, "offline", reason, settings, {**options, **ids[-1]})

    def _init(
        self,
        run_dir: Path,
        mode: Any,
        reason: str | None,
        more_settings: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Any:
        """Call `wandb.init`, write the run's address into the folder and log it, or how to upload the run."""
        import wandb

        quiet_settings()  # again, because shut_down_wandb forgets them
        # wandb would describe the repository around the run folder, which may not be the code's.
        git = read_json(run_dir / ENVIRONMENT_FILE).get("git") if self.code else None
        settings = wandb.Settings(
            console="off",
            init_timeout=self.init_timeout_s,
            finish_timeout=self.finish_timeout_s,
            finish_timeout_raises=True,
            x_transaction_log_flush_interval=FLUSH_INTERVAL_S,
            disable_git=True,
            disable_code=not self.code,
            git_commit=git["commit"] if git else None,
            git_remote_url=git["remote"] if git else None,
            **more_settings,
        )
        # create_new: another run that is open in this process must not receive this run's metrics.
        run = wandb.init(
            **options, dir=str(run_dir.resolve()), mode=mode, reinit="create_new", settings=settings
        )
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        for name in () if more_settings else (CONFIG_FILE, *(CODE_FILES if self.code else ())):
            if (run_dir / name).exists():
                # W&B has a config.yaml of its own: ours is in a folder of the run folder's name.
                base = run_dir.parent if name == CONFIG_FILE else run_dir
                run.save(str(run_dir / name), base_path=str(base), policy="now")
        address = {"id": run.id, "project": run.project, "entity": run.entity or None}
        url = run.url if mode == "online" else None  # an offline run would log a complaint
        write_json(run_dir / WANDB_FILE, {**address, "url": url, "mode": mode})
        if mode == "online":
            logger.info("W&B run %s", run.url)
        else:
            level, why = (logging.WARNING, f" ({reason})") if reason else (logging.INFO, "")
            how = f"its files are in the run folder; to upload them: {sync_command(run_dir, run)}"
            logger.log(level, "W&B is offline%s, %s", why, how)
        return run


def shown_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What W&B shows of a configuration. `choices` names the options, so that no class needs to."""
    plain = {
        key: shown_config(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in NOT_SHOWN
    }
    return {key: value for key, value in plain.items() if value != {}}
