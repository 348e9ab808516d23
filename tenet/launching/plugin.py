"""Hydra's side of a multirun: its launcher plugin, which composes each job's configuration."""

import sys
from collections.abc import Sequence
from datetime import datetime
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
from tenet.errors import ConfigError, UserError
from tenet.files.names import WEIGHTS_FILE
from tenet.launching.job import Job, Outcome, State, Task, Work, counted, is_for_cpu
from tenet.launching.multirun import Multirun
from tenet.launching.table import print_table
from tenet.run.folder import RunFolder
from tenet.run.signals import Preempted, StopSignals

MAX_GROUP_CHARACTERS = 128  # W&B takes no more


class JobsFailedError(UserError):
    """Some jobs of a multirun failed; how, is told already."""


class MultirunLauncher(Launcher):
    """Runs the jobs of a multirun as the group `launcher` says."""

    # Hydra takes plugins from this package alone; see `register`.
    __module__ = "hydra_plugins.tenet"

    def setup(self, *, hydra_context: HydraContext, task_function: Task, config: Any) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config
        self.first_of: dict[str, Job] = {}
        if OmegaConf.select(config, "hydra.sweeper.max_batch_size") is not None:
            raise ConfigError(
                "hydra.sweeper.max_batch_size: leave it out; launcher=parallel launcher.jobs=N says how many jobs "
                "run at a time"
            )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs and print their table. Raises JobsFailedError if any failed, or was stopped alone."""
        setup_globals()
        jobs = [
            Job(number=number, overrides=tuple(overrides), label=label)
            for number, (overrides, label) in enumerate(
                zip(job_overrides, labels(job_overrides), strict=True), start=initial_job_idx
            )
        ]
        launcher = build(self.config.launcher, key="launcher")
        multirun = Multirun(
            jobs,
            folder=Path(self.config.hydra.sweep.dir) / f"multirun-{datetime.now():%Y%m%d-%H%M%S-%f}",
            prepare=self._prepare,
            may_use_gpus=not is_for_cpu(self.config),
        )
        try:
            with StopSignals() as self.stop:
                launcher.run(multirun)
        except (KeyboardInterrupt, Preempted):
            for job in jobs:
                if job.outcome.state == State.RUNNING:
                    multirun.end(job, Outcome(State.INTERRUPTED))
            raise
        finally:
            if multirun.counts[State.NOT_STARTED] < len(jobs):
                print_table(multirun)
        if failed := multirun.counts[State.FAILED] + multirun.counts[State.INTERRUPTED]:
            raise JobsFailedError(f"{failed} of {counted(len(jobs), 'job')} failed")
        return [
            JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=job.result)
            for job in jobs
        ]

    def _prepare(self, job: Job) -> Work | None:
        # OmegaConf may swallow an exception that a signal raises.
        with self.stop.postponed():
            return self._compose(job)

    def _compose(self, job: Job) -> Work | None:
        """Compose a job; None, with its outcome set, for one that is done already or is there twice."""
        config = self.context.config_loader.load_sweep_config(self.config, list(job.overrides))
        with open_dict(config):
            config.hydra.job.num, config.hydra.job.id = job.number, str(job.number)
        if OmegaConf.select(config, "tracking.group", default="") is None:
            # The jobs of one multirun stand together in W&B, under what was typed: first the words with the values.
            words = _without_launcher(self.config.hydra.overrides.task)
            words.sort(key=set(job.overrides).__contains__)
            config.tracking.group = " ".join(words)[:MAX_GROUP_CHARACTERS]
        HydraConfig.instance().set_config(config)  # the folder's name may be made of it
        job.folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir)
        own = resolve(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
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
        return Work(self.context, self.task, config)


def labels(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """What tells each job from the others, or all its overrides where there is nothing."""
    named = [_without_launcher(overrides) for overrides in job_overrides]
    common = set.intersection(*map(set, named))
    return [
        " ".join([word for word in words if word not in common] or words or ["defaults"]) for words in named
    ]


def _without_launcher(overrides: Sequence[str]) -> list[str]:
    return [override for override in overrides if not override.startswith(("launcher=", "launcher."))]


def register() -> None:
    """Make the launcher known to Hydra, which looks it up by its name in the package of plugins."""
    plugins = Plugins.instance()
    # Hydra has imported the package if anybody else's plugin is installed.
    package = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    package.tenet = sys.modules[__name__]  # type: ignore[attr-defined]
    plugins.register(MultirunLauncher)
