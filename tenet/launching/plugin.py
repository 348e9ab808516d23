"""The launcher plugin that Hydra calls for a multirun. It composes the configuration of each job."""

import logging
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import OmegaConf, open_dict

from tenet.config.build import build
from tenet.config.run_config import resolve, run_id
from tenet.errors import ConfigError, UserError, counted
from tenet.files.names import WEIGHTS_FILE
from tenet.files.paths import user_path
from tenet.launching.executor import Executor
from tenet.launching.job import Job, JobWork, Outcome, State, Task, is_for_cpu
from tenet.launching.multirun import Multirun
from tenet.run.folder import RunFolder
from tenet.run.signals import StopSignals
from tenet.tracking.names import cut, short_name

logger = logging.getLogger("tenet")


class JobsFailedError(UserError):
    """Some jobs of a multirun failed. Their errors have been printed."""


class MultirunLauncher(Launcher):
    """Runs the jobs of a multirun by the executor that the group `launcher` selects."""

    # Hydra accepts plugins from this package only; see `register`.
    __module__ = "hydra_plugins.tenet"

    def setup(self, *, hydra_context: HydraContext, task_function: Task, config: Any) -> None:
        self.context, self.config = hydra_context, config
        # run_main wraps the task in a local function, which can't be sent to another process.
        self.task: Task = getattr(task_function, "__wrapped__", task_function)
        self.first_of: dict[str, Job] = {}
        if OmegaConf.select(config, "hydra.sweeper.max_batch_size") is not None:
            raise ConfigError(
                "hydra.sweeper.max_batch_size: leave it out; launcher=parallel launcher.jobs=N sets how many jobs "
                "run at a time"
            )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs and print their table. Raises JobsFailedError if a job failed or was interrupted."""
        setup_globals()
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        described = zip(
            numbers,
            map(tuple, job_overrides),
            differing(job_overrides, self.config.hydra.overrides.task),
            strict=True,
        )
        jobs = [
            Job(number, overrides, " ".join(own), short_name(own)) for number, overrides, own in described
        ]
        self.is_many = len(jobs) > 1
        if self.is_many and os.environ.pop("WANDB_RUN_ID", ""):
            logger.warning(
                "WANDB_RUN_ID is the id of one run: each job of this multirun gets an id of its own"
            )
        self.executor: Executor = build(self.config.launcher, key="launcher")
        multirun = Multirun(
            jobs,
            folder=unused(Path(self.config.hydra.sweep.dir) / f"multirun-{datetime.now():%Y%m%d-%H%M%S-%f}"),
            prepare=self._compose,
            may_use_gpus=not is_for_cpu(self.config),
        )
        try:
            with StopSignals() as self.stop:
                multirun.run(self.executor)
        finally:
            if multirun.counts[State.NOT_STARTED] < len(jobs):
                multirun.print_table()
        if failed := multirun.counts[State.FAILED] + multirun.counts[State.INTERRUPTED]:
            raise JobsFailedError(f"{failed} of {counted(len(jobs), 'job')} failed")
        return [
            JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=job.result)
            for job in jobs
        ]

    def _compose(self, job: Job) -> JobWork | None:
        """Compose a job. If it is finished already or a duplicate, set its outcome and return None."""
        with self.stop.postponed():  # OmegaConf may swallow the exception that a signal raises
            config = self.context.config_loader.load_sweep_config(self.config, list(job.overrides))
            with open_dict(config):
                config.hydra.job.num, config.hydra.job.id = job.number, str(job.number)
            self._set_processes(job, config)
            if self.is_many:
                self._name_in_wandb(job, config)
            HydraConfig.instance().set_config(config)  # for ${hydra:...} in the folder's name
            job.folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir)
            own = resolve(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
            if own.get("resume") is not None:
                job.folder = user_path(own["resume"], key="resume")
        first = self.first_of.setdefault(run_id(own), job)
        if first is not job:
            job.same_as, job.outcome = first, Outcome(State.SAME)
            return None
        if own.get("rerun") is False and own.get("resume") is None and (job.folder / WEIGHTS_FILE).exists():
            with RunFolder(job.folder) as folder:
                result = folder.take(own)
            if result is not None:
                job.outcome = Outcome(State.FINISHED_BEFORE, result)
                return None
        return JobWork(self.context, self.task, config)

    def _name_in_wandb(self, job: Job, config: Any) -> None:
        """One group for the multirun, named after its command line, swept keys first; and a name for each job."""
        words = _without_launcher(self.config.hydra.overrides.task)
        words.sort(key=set(job.overrides).__contains__)
        names = {"group": ("WANDB_RUN_GROUP", cut(" ".join(words))), "name": ("WANDB_NAME", job.name)}
        for key, (variable, name) in names.items():
            is_given = OmegaConf.select(config, f"tracking.{key}", default="") is not None
            if not is_given and not os.environ.get(variable):
                config.tracking[key] = name

    def _set_processes(self, job: Job, config: Any) -> None:
        """Add the number of processes that the launcher starts: it is part of what a run is. Raises ConfigError."""
        started = self.executor.processes
        wanted = OmegaConf.select(config, "trainer.processes", default="any")
        if started == 1 or wanted == "any" or config.get("resume") is not None:
            return
        if wanted is None:
            config.trainer.processes = started
            job.overrides = (*job.overrides, f"trainer.processes={started}")
        elif wanted != started:
            raise ConfigError(
                f"trainer.processes={wanted}, but the launcher starts {started}; change launcher.nodes and launcher.gpus, "
                "or leave trainer.processes out"
            )


def unused(path: Path) -> Path:
    """The path, or one with a number after it if the clock stood still since another multirun took it."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(one for one in chain([path], numbered) if not one.exists())


def differing(job_overrides: Sequence[Sequence[str]], typed: Sequence[str] = ()) -> list[list[str]]:
    """Return for each job the overrides that differ from the other jobs'.

    If none does, as in `seed=0,0`: those that were swept, which are not among the words `typed`; or else all.
    """
    named = [_without_launcher(overrides) for overrides in job_overrides]
    common = set.intersection(*map(set, named))
    all_swept = [word for word in named[0] if word not in typed]
    return [
        [word for word in words if word not in common] or all_swept or words or ["defaults"]
        for words in named
    ]


def _without_launcher(overrides: Sequence[str]) -> list[str]:
    return [override for override in overrides if not override.startswith(("launcher=", "launcher."))]


def register() -> None:
    """Register the launcher with Hydra, which looks it up by name in the package hydra_plugins."""
    plugins = Plugins.instance()
    # The package has been imported already if another plugin is installed.
    package = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    package.tenet = sys.modules[__name__]  # type: ignore[attr-defined]
    plugins.register(MultirunLauncher)
