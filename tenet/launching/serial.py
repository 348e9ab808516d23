"""The jobs of a multirun one after another, in this process."""

from dataclasses import dataclass

from tenet.launching.multirun import Multirun


@dataclass(frozen=True)
class SerialJobs:
    """One job after another; what a job leaves in this process, such as loaded libraries, the next one finds."""

    def run(self, multirun: Multirun) -> None:
        for job in multirun.jobs:
            work = multirun.start(job)
            if work is not None:
                multirun.end(job, work())
