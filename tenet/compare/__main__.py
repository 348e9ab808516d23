"""Compare runs: `python -m tenet.compare RUN_DIR ...`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tenet.compare.groups import compare
from tenet.compare.page import page
from tenet.compare.runs import CompareError, find_runs, read_run
from tenet.compare.terminal import terminal
from tenet.compare.text import csv_text, latex, markdown, notes
from tenet.entry import run_and_report_errors
from tenet.errors import printable
from tenet.files.json import replace_file
from tenet.run.signals import StopSignals

WRITERS = {"terminal": terminal, "markdown": markdown, "latex": latex, "csv": csv_text}
SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html"}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tenet.compare",
        description="Mean and deviation over seeds of groups of runs, and their paired differences.",
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN_DIR", help="run folders, folders above them, or patterns")
    add("--by", nargs="+", default=[], metavar="KEY", help="keys to group by; default: all that differ")
    text = "more columns, by their names in summary.json; also drawn as curves if metrics.jsonl has them"
    add("--metrics", nargs="+", default=[], metavar="NAME", help=text)
    text = "lowest first: mce (the default), test, or one of --metrics; or by name"
    add("--sort", default="mce", metavar="FIGURE", help=text)
    text = "the group that the others are compared with; default: the first"
    add("--baseline", nargs="+", default=[], metavar="KEY=VALUE", help=text)
    add("--format", choices=(*WRITERS, "html"), help="default: by the suffix of --output")
    add("--output", type=Path, metavar="FILE", help="write to this file instead of the terminal")
    text = "keys of a heatmap of the figure that --sort names, in HTML; default: all pairs that make a grid"
    add("--surface", nargs=2, action="append", default=[], metavar="KEY", help=text)
    add("--published", action="store_true", help="add published figures, marked as not measured here")
    return parser


def run(asked: argparse.Namespace) -> None:
    """Raises CompareError for a wrong command, and for runs that cannot be compared as asked."""
    form = asked.format or (SUFFIXES.get(asked.output.suffix) if asked.output else "terminal")
    if form is None:
        raise CompareError(
            f"--output {asked.output}: its suffix is none of {', '.join(SUFFIXES)}; use one of them or add --format"
        )
    if asked.surface and form != "html":
        raise CompareError("--surface: heatmaps need HTML; add --output FILE.html")
    runs = [read_run(folder) for folder in find_runs(asked.runs)]
    comparison = compare(runs, by=asked.by, metrics=asked.metrics, sort=asked.sort, baseline=asked.baseline)
    if form == "html":
        link_from = asked.output.parent if asked.output else Path()
        text = page(comparison, published=asked.published, link_from=link_from, surfaces=asked.surface)
    else:
        text = WRITERS[form](comparison, published=asked.published)
    if form == "csv":  # the table itself holds figures only
        sys.stderr.writelines(f"{note}\n" for note in notes(comparison))
    if asked.output is None:
        sys.stdout.write(text)
    else:
        replace_file(asked.output, text)
        print(printable(str(asked.output)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    asked = parser().parse_args(arguments)
    with StopSignals():
        return run_and_report_errors(lambda: run(asked))


if __name__ == "__main__":
    sys.exit(main())
