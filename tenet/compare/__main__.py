"""Compare runs: `python -m tenet.compare RUN_DIR ...`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tenet.compare import terminal, text
from tenet.compare.groups import Comparison, compare
from tenet.compare.runs import CompareError, find_runs, read_run
from tenet.entry import run_and_report_errors
from tenet.errors import printable
from tenet.files.json import replace_file
from tenet.run.signals import StopSignals

SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html"}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tenet.compare",
        description="Mean and deviation over seeds of groups of runs, and their paired differences.",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN_DIR", help="run folders, folders above them, or patterns"
    )
    parser.add_argument(
        "--by", nargs="+", default=[], metavar="KEY", help="keys to group by; default: all that differ"
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=[],
        metavar="NAME",
        help="more columns, by their names in summary.json; and as curves, where metrics.jsonl has them",
    )
    parser.add_argument(
        "--sort",
        default="mce",
        metavar="FIGURE",
        help="lowest first: mce (the default), test, or one of --metrics; or by name",
    )
    parser.add_argument(
        "--baseline",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="the group the others are compared with; default: the first",
    )
    parser.add_argument(
        "--format", choices=("terminal", *SUFFIXES.values()), help="default: by the suffix of --output"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there and not to the terminal")
    parser.add_argument(
        "--surface",
        nargs=2,
        action="append",
        default=[],
        metavar="KEY",
        help="two keys for a heatmap of the figure sorted by, in HTML; default: all pairs that make a grid",
    )
    parser.add_argument("--published", action="store_true", help="add published figures, marked as such")
    return parser


def choose_format(asked: argparse.Namespace) -> str:
    """Raises CompareError for a suffix that tells of no format."""
    if asked.format or asked.output is None:
        return asked.format or "terminal"
    if asked.output.suffix not in SUFFIXES:
        raise CompareError(
            f"--output {asked.output}: its suffix is none of {', '.join(SUFFIXES)}; take one of them, or "
            "add --format"
        )
    return SUFFIXES[asked.output.suffix]


def render(comparison: Comparison, form: str, asked: argparse.Namespace) -> str:
    if form == "html":
        from tenet.compare.page import page

        link_from = asked.output.parent if asked.output else Path()
        return page(comparison, published=asked.published, link_from=link_from, surfaces=asked.surface)
    if asked.surface:
        raise CompareError("--surface: a heatmap is drawn in HTML alone; give --output FILE.html")
    writers = {
        "terminal": terminal.terminal,
        "markdown": text.markdown,
        "latex": text.latex,
        "csv": text.csv_text,
    }
    return writers[form](comparison, published=asked.published)


def run(asked: argparse.Namespace) -> None:
    form = choose_format(asked)
    runs = [read_run(folder) for folder in find_runs(asked.runs)]
    comparison = compare(runs, by=asked.by, metrics=asked.metrics, sort=asked.sort, baseline=asked.baseline)
    rendered = render(comparison, form, asked)
    if form == "csv":  # a clean table of figures: what is beside them goes elsewhere
        sys.stderr.writelines(f"{note}\n" for note in text.notes(comparison))
    if asked.output is None:
        sys.stdout.write(rendered)
    else:
        replace_file(asked.output, rendered)
        print(printable(str(asked.output)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    asked = parser().parse_args(arguments)
    with StopSignals():
        return run_and_report_errors(lambda: run(asked))


if __name__ == "__main__":
    sys.exit(main())
