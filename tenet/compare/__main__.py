"""Compare runs: `python -m tenet.compare RUN_DIR ...`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.compare.choose import where
from tenet.compare.datasets import split_by_data
from tenet.compare.differences import difference_picture, save_picture
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WRITERS = {"terminal": terminal, "markdown": markdown, "latex": latex, "csv": csv_text}
ONE_TABLE = ("csv", "html", "picture")  # forms that hold one table: each data set gets a file of its own
SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html"}
SUFFIXES |= dict.fromkeys((".png", ".pdf", ".svg"), "picture")


EXAMPLES = """examples:
  python -m tenet.compare runs
  python -m tenet.compare runs --where dataset=cifar10 trainer.epochs=200 --baseline tenet=none
  python -m tenet.compare runs --where backbone=resnet8,resnet20 --group-by backbone tenet --columns test mce
  python -m tenet.compare runs --where search=strength-1f0c5a2b      the trials of a search, otherwise left out
  python -m tenet.compare runs --output table.tex                    or .md, .csv, .html; or .png, .pdf, .svg:
                                                                     the difference by corruption as a picture

Keys and values are those of train.py's command line: tenet=inhibition, backbone=resnet8, tenet.groups=4.
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tenet.compare",
        description="Mean and deviation over seeds of groups of runs, and their paired differences, for each data set.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    several: dict[str, Any] = {"nargs": "+", "default": [], "action": "extend"}  # an option may be repeated
    add("runs", nargs="+", metavar="RUN_DIR", help="run folders, folders above them, or patterns")
    text = "compare only the runs with these values; KEY=A,B for either of two"
    add("--where", **several, metavar="KEY=VALUE", help=text)
    text = "keys to group by; default: all that differ, except the seed, logging and hardware"
    add("--group-by", "--by", **several, metavar="KEY", help=text)
    text = "the figures, in this order: test, mce, robust, or names in summary.json; default: test mce robust"
    add("--columns", **several, metavar="FIGURE", help=text)
    text = "more columns, by their names in summary.json; also drawn as curves if metrics.jsonl has them"
    add("--metrics", **several, metavar="NAME", help=text)
    text = "best first: mce (the default), test, robust, or a name in summary.json; or by name of the groups"
    add("--sort", default="mce", metavar="FIGURE", help=text)
    text = "the group that the others are compared with; default: the first"
    add("--baseline", **several, metavar="KEY=VALUE", help=text)
    add("--format", choices=(*WRITERS, "html"), help="default: by the suffix of --output")
    add("--output", type=Path, metavar="FILE", help="write to this file instead of the terminal")
    text = "keys of a heatmap of the figure that --sort names, in HTML; default: all pairs that make a grid"
    add("--surface", nargs=2, action="append", default=[], metavar="KEY", help=text)
    add(
        "--published",
        action="store_true",
        help="add the published figures on the data set, marked as not measured here",
    )
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
    parts = split_by_data(where([read_run(folder) for folder in find_runs(asked.runs)], asked.where))
    comparisons = {name: _compare(runs, asked, name=name, is_one=len(parts) == 1) for name, runs in parts}
    contents = {name: _content(comparison, asked, form=form) for name, comparison in comparisons.items()}
    if form in ("csv", "picture"):  # they hold figures only
        every = [note for each in comparisons.values() for note in notes(each, published=asked.published)]
        sys.stderr.writelines(f"{note}\n" for note in every)
    if len(parts) > 1 and form in ONE_TABLE:
        _write_files(contents, asked.output, form=form)
        return
    content = contents.popitem()[1] if len(parts) == 1 else "\n".join(map(str, contents.values()))
    if asked.output is None:
        sys.stdout.write(str(content))
    else:
        _write(content, asked.output)


def _compare(runs: Sequence[Run], asked: argparse.Namespace, *, name: str, is_one: bool) -> Comparison:
    """name: of the data set. is_one: whether it is the only one, so that messages need not name it."""
    chosen = {
        "columns": asked.columns,
        "metrics": asked.metrics,
        "sort": asked.sort,
        "baseline": asked.baseline,
    }
    try:
        return compare(runs, dataset=name, by=asked.group_by, **chosen)
    except CompareError as error:
        raise CompareError(str(error) if is_one else f"data set {name}: {error}") from error


def _content(comparison: Comparison, asked: argparse.Namespace, *, form: str) -> "str | Figure":
    if form in WRITERS:
        return WRITERS[form](comparison, published=asked.published)
    if form == "html":
        link_from = asked.output.parent if asked.output else Path()
        return page(comparison, published=asked.published, link_from=link_from, surfaces=asked.surface)
    figure = difference_picture(comparison)
    if figure is None:
        raise CompareError(
            f"--output {asked.output}: a picture of differences needs two groups with an mCE and common seeds; run "
            "evaluate.py"
        )
    return figure


def _write_files(contents: Mapping[str, "str | Figure"], output: Path | None, *, form: str) -> None:
    """A file for each data set, such as table-cifar10.csv."""
    if output is None:
        raise CompareError(
            f"--format {form}: the runs are of several data sets ({', '.join(contents)}); add --output FILE for a file "
            "for each, or choose one with --where dataset=NAME"
        )
    for name, content in contents.items():
        _write(
            content,
            output.with_name(f"{output.stem}-{re.sub(r'[^0-9A-Za-z_.+]+', '-', name)}{output.suffix}"),
        )


def _write(content: "str | Figure", path: Path) -> None:
    if isinstance(content, str):
        replace_file(path, content)
    else:
        save_picture(content, path)
    print(printable(str(path)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    open_streams()
    asked = parser().parse_args(arguments)
    with StopSignals():
        return run_and_report_errors(lambda: run(asked))


if __name__ == "__main__":
    sys.exit(main())
