"""What a check says: findings with their remedies. A check that fails is a finding too."""

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tenet.errors import UserError

Status = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """remedy: a command to paste, or what to change. figures: for programs, by name with unit."""

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


class NotExaminedError(Exception):
    """A check can't look at something until what another check found is mended."""


@dataclass
class Section:
    """The findings of one check; `defect` is the traceback of one that failed by itself."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    defect: str | None = None


def examine(name: str, check: Callable[[], Iterable[Finding]]) -> Section:
    """All that `check` finds. Whatever it raises (but for an interruption) becomes its last finding."""
    section = Section(name)
    try:
        section.findings.extend(check())
    except NotExaminedError as reason:
        section.findings.append(warning(f"not examined: {reason}"))
    except UserError as error:
        section.findings.append(problem(str(error)))
    except (Exception, SystemExit) as error:
        first, *_ = str(error).strip().splitlines() or [""]
        section.defect = traceback.format_exc()
        section.findings.append(
            problem(f"this check failed: {type(error).__name__}: {first}", "--json FILE keeps the traceback")
        )
    return section
