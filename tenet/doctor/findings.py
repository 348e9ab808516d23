"""The run that is examined, and what the checks find. Importing this module does not import torch."""

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tenet.errors import UserError

if TYPE_CHECKING:
    from tenet.experiment import Experiment

Status = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """remedy: a command to paste, or what to change. figures: the values for programs, by name with unit."""

    status: Status
    what: str
    remedy: str | None = None
    figures: Mapping[str, Any] = {}


def ok(what: str, **figures: Any) -> Finding:
    return Finding("ok", what, None, figures)


def warning(what: str, remedy: str | None = None, **figures: Any) -> Finding:
    return Finding("warning", what, remedy, figures)


def problem(what: str, remedy: str | None = None, **figures: Any) -> Finding:
    return Finding("problem", what, remedy, figures)


@dataclass
class Plan:
    """A run that has not started.

    overrides: as train.py would get them. output: folder for the doctor's own files. steps: how many to time.
    steps_done: the step of an interrupted run's checkpoint. has_stand_ins: random images replace a data set that is
    missing. max_batches: the largest batches for training and for evaluation that fit into memory; None: not known.
    known_errors: messages that a check has reported already.
    """

    config: dict[str, Any]
    overrides: Sequence[str]
    run_dir: Path
    output: Path
    steps: int = 5
    price_per_hour: float | None = None
    corruptions: Path | None = None
    steps_done: int = 0
    has_stand_ins: bool = False
    max_batches: tuple[int, int] | None = None
    known_errors: set[str] = field(default_factory=set)

    @cached_property
    def experiment(self) -> "Experiment":
        """The parts of the run; the same as train.py's."""
        # Imported here: if torch can't be imported, that is a finding.
        from tenet.experiment import Experiment

        return Experiment(self.config)

    @property
    def nearest_folder(self) -> Path:
        """The run folder or its nearest existing parent, which is on the same disk."""
        return next(folder for folder in (self.run_dir, *self.run_dir.parents) if folder.is_dir())


class NotExaminedError(Exception):
    """A check needs something that this machine or an earlier check does not provide."""


class Section(NamedTuple):
    """The findings of one check. defect: the traceback if the check itself failed."""

    name: str
    findings: list[Finding]
    defect: str | None = None


def examine(name: str, check: Callable[[Plan], Iterable[Finding]], plan: Plan) -> Section:
    """Run one check. An exception becomes its last finding, except an interruption.

    An error that an earlier check has reported is a warning here: this check could not examine anything.
    """
    findings: list[Finding] = []
    try:
        findings.extend(check(plan))
    except NotExaminedError as reason:
        findings.append(warning(f"not examined: {reason}"))
    except UserError as error:
        if str(error) in plan.known_errors:
            findings.append(warning(f"not examined until this is fixed: {error}"))
        else:
            plan.known_errors.add(str(error))
            findings.append(problem(str(error)))
    except (Exception, SystemExit) as error:
        first, *_ = str(error).strip().splitlines() or [""]
        what = f"this check failed: {type(error).__name__}: {first}"
        findings.append(problem(what, "--json FILE keeps the traceback"))
        return Section(name, findings, traceback.format_exc())
    return Section(name, findings)
