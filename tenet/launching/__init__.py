"""Hydra's multirun (`-m`): many runs by one command, run by one of the executors."""

from tenet.launching.executor import SerialExecutor
from tenet.launching.plugin import register
from tenet.launching.processes import ProcessExecutor
from tenet.launching.slurm import SlurmExecutor

__all__ = ["ProcessExecutor", "SerialExecutor", "SlurmExecutor", "register"]
