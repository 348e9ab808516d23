"""Hydra's multirun (`-m`): many runs by one command, one after another or side by side."""

from tenet.launching.parallel import ParallelJobs
from tenet.launching.plugin import register
from tenet.launching.serial import SerialJobs

__all__ = ["ParallelJobs", "SerialJobs", "register"]
