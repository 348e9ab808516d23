"""The findings for a terminal or a log, and for programs."""

import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from tenet import __version__
from tenet.doctor.findings import Finding, Plan, Section, Status
from tenet.errors import printable
from tenet.printing import console as new_console

# With and without Unicode, and the style.
MARKS: dict[Status, tuple[str, str, str]] = {
    "ok": ("✓", "+", "green"),
    "warning": ("!", "!", "yellow"),
    "problem": ("✗", "x", "bold red"),
}


class Report:
    """Prints section by section: in a terminal folded and coloured, elsewhere one line for each finding.

    Remedies are never folded, so that they can be pasted.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or new_console()

    def start(self, plan: Plan) -> None:
        self._print(Text(f"{printable(plan.run_dir.name)}: {train_command(plan)}", style="bold"))

    def show(self, section: Section) -> None:
        self._print(Text(section.name, style="bold"))
        for finding in section.findings:
            self._print_finding(finding)

    def end(self, sections: Sequence[Section], plan: Plan) -> bool:
        """Print the summary and, if there are problems, the first; return whether the run is ready."""
        counts = count_by_status(sections)
        plural = {status: "s" * (status != "ok" and number != 1) for status, number in counts.items()}
        summary = ", ".join(f"{number} {status}{plural[status]}" for status, number in counts.items())
        if not counts["problem"]:
            self._print(Text(f"ready ({summary}): {train_command(plan)}", style="bold green"))
            return True
        self._print(Text(f"not ready ({summary}); fix first:", style="bold red"))
        findings = (finding for section in sections for finding in section.findings)
        self._print_finding(next(finding for finding in findings if finding.status == "problem"))
        return False

    def _print_finding(self, finding: Finding) -> None:
        mark, plain_mark, style = MARKS[finding.status]
        if not self.console.encoding.startswith("utf"):
            mark = plain_mark
        text = Text(printable(finding.what), style if finding.status == "problem" else "")
        width = self.console.width - 4
        lines = text.wrap(self.console, width, overflow="fold") if self.console.is_terminal else [text]
        self._print(Text.assemble("  ", (mark, style), " ", Text("\n    ").join(lines)))
        if finding.remedy is not None:
            self._print(Text.assemble("    ", (f"-> {printable(finding.remedy)}", "cyan")))

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True, highlight=False)


def count_by_status(sections: Sequence[Section]) -> dict[Status, int]:
    found = [finding.status for section in sections for finding in section.findings]
    return {status: found.count(status) for status in MARKS}


def train_command(plan: Plan) -> str:
    return printable(shlex.join(["python", "train.py", *plan.overrides]))


def as_json(sections: Sequence[Section], plan: Plan) -> dict[str, Any]:
    content = {}
    for section in sections:
        texts = [
            {"status": found.status, "what": found.what, "remedy": found.remedy} for found in section.findings
        ]
        figures = {name: value for found in section.findings for name, value in found.figures.items()}
        content[section.name] = {"findings": texts, "figures": figures, "traceback": section.defect}
    counts = count_by_status(sections)
    return {
        "tenet_version": __version__,
        "command": train_command(plan),
        "run_folder": str(plan.run_dir),
        "ready": counts["problem"] == 0,
        "counts": counts,
        "sections": content,
    }
