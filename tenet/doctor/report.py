"""The findings as a person reads them in a terminal or a log, and as a program does."""

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tenet import __version__
from tenet.doctor.findings import Finding, Section, Status
from tenet.doctor.plan import Plan
from tenet.errors import printable

# With and without Unicode, and the style.
MARKS: dict[Status, tuple[str, str, str]] = {
    "ok": ("✓", "+", "green"),
    "warning": ("!", "!", "yellow"),
    "problem": ("✗", "x", "bold red"),
}


def count(sections: Sequence[Section]) -> dict[Status, int]:
    found = [finding.status for section in sections for finding in section.findings]
    return {status: found.count(status) for status in MARKS}


class Report:
    """Prints section by section. On a terminal findings are folded and coloured; elsewhere each is a line.
    Remedies are never folded, so that they can be pasted."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()

    def start(self, plan: Plan) -> None:
        self._print(Text(f"{printable(plan.run_dir.name)}: {command(plan)}", style="bold"))

    def working(self, name: str) -> AbstractContextManager[Any]:
        return self.console.status(f"{name} ...") if self.console.is_terminal else nullcontext()

    def show(self, section: Section) -> None:
        self._print(Text(section.name, style="bold"))
        for finding in section.findings:
            self._finding(finding)

    def end(self, sections: Sequence[Section], plan: Plan) -> None:
        counts = count(sections)
        told = f"{counts['ok']} ok, {_plural(counts['warning'], 'warning')}, {_plural(counts['problem'], 'problem')}"
        first = next(
            (finding for section in sections for finding in section.findings if finding.status == "problem"),
            None,
        )
        if first is None:
            self._print(Text(f"ready ({told}): {command(plan)}", style="bold green"))
            return
        self._print(Text(f"not ready ({told}); mend first:", style="bold red"))
        self._finding(first)

    def _finding(self, finding: Finding) -> None:
        mark, plain_mark, style = MARKS[finding.status]
        if not self.console.encoding.startswith("utf"):
            mark = plain_mark
        text = Text(printable(finding.what), style if finding.status == "problem" else "")
        if self.console.is_terminal:
            grid = Table.grid(padding=(0, 1, 0, 0))
            grid.add_column(width=3, justify="right")
            grid.add_column(overflow="fold")
            grid.add_row(Text(mark, style), text)
            self.console.print(grid)
        else:
            self._print(Text.assemble("  ", (mark, style), " ", text))
        if finding.remedy is not None:
            self._print(Text.assemble("    ", (f"-> {printable(finding.remedy)}", "cyan")))

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True, highlight=False)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def command(plan: Plan) -> str:
    return printable(shlex.join(["python", "train.py", *plan.overrides]))


def as_json(sections: Sequence[Section], plan: Plan) -> dict[str, Any]:
    counts = count(sections)

    def finding_of(finding: Finding) -> dict[str, Any]:
        return {"status": finding.status, "what": finding.what, "remedy": finding.remedy}

    return {
        "tenet_version": __version__,
        "command": command(plan),
        "run_folder": str(plan.run_dir),
        "ready": counts["problem"] == 0,
        "counts": counts,
        "sections": {
            section.name: {
                "findings": [finding_of(finding) for finding in section.findings],
                "figures": {
                    name: value for finding in section.findings for name, value in finding.figures.items()
                },
                "traceback": section.defect,
            }
            for section in sections
        },
    }
