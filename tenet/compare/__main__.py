"""Compare runs: `python -m tenet.compare RUN_DIR ...`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tenet.compare.datasets import split_by_data
from tenet.compare.groups import Comparison, compare
from tenet.compare.page import page
from tenet.compare.runs import CompareError, Run, find_runs, read_run
from tenet.compare.terminal import terminal
from tenet.compare.text import csv_text, latex, markdown, notes
from tenet.entry import run_and_report_errors
from tenet.errors import printable
from tenet.files.json import replace_file
from tenet.printing import open_streams
from tenet.run.signals import StopSignals

WRITERS = {"terminal": terminal, "markdown": markdown, "latex": latex, "csv": csv_text}
# These forms hold one table: of several data sets, each has a file. The others begin each with a heading.
ONE_TABLE = ("csv", "html")
HEADINGS = {"terminal": "Data set ", "markdown": "## Data set ", "latex": "% Data set "}
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
    parts = split_by_data([read_run(folder) for folder in find_runs(asked.runs)])
    comparisons = {name: _compare(runs, asked, name=name if len(parts) > 1 else "") for name, runs in parts}
    texts = {name: _write(comparison, asked, form=form) for name, comparison in comparisons.items()}
    if form == "csv":  # the table itself holds figures only
        sys.stderr.writelines(f"{note}\n" for each in comparisons.values() for note in notes(each))
    if len(parts) > 1 and form in ONE_TABLE:
        _write_files(texts, asked.output, form=form)
        return
    if len(parts) > 1:
        texts = {name: f"{HEADINGS[form]}{name}\n\n{text}" for name, text in texts.items()}
    text = "\n".join(texts.values())
    if asked.output is None:
        sys.stdout.write(text)
    else:
        replace_file(asked.output, text)
        print(printable(str(asked.output)))


def _compare(runs: Sequence[Run], asked: argparse.Namespace, *, name: str) -> Comparison:
    """name: of the data set, for messages; empty if all runs are of one."""
    try:
        return compare(runs, by=asked.by, metrics=asked.metrics, sort=asked.sort, baseline=asked.baseline)
    except CompareError as error:
        raise CompareError(f"data set {name}: {error}" if name else str(error)) from error


def _write(comparison: Comparison, asked: argparse.Namespace, *, form: str) -> str:
    if form != "html":
        return WRITERS[form](comparison, published=asked.published)
    link_from = asked.output.parent if asked.output else Path()
    return page(comparison, published=asked.published, link_from=link_from, surfaces=asked.surface)


def _write_files(texts: Mapping[str, str], output: Path | None, *, form: str) -> None:
    """A file for each data set, such as table-cifar10.csv."""
    if output is None:
        raise CompareError(
            f"--format {form}: the runs are of several data sets ({', '.join(texts)}); add --output FILE for a file "
            "for each, or name the runs of one"
        )
    for name, text in texts.items():
        path = output.with_name(f"{output.stem}-{re.sub(r'[^0-9A-Za-z_.+]+', '-', name)}{output.suffix}")
        replace_file(path, text)
        print(printable(str(path)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    open_streams()
    asked = parser().parse_args(arguments)
    with StopSignals():
        return run_and_report_errors(lambda: run(asked))


if __name__ == "__main__":
    sys.exit(main())
