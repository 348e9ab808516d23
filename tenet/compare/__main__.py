"""Compare runs: `python -m tenet.compare RUN_DIR ...`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tenet.compare import text
from tenet.compare.groups import Comparison, compare
from tenet.compare.runs import find_runs, read_run
from tenet.errors import UserError
from tenet.metrics_file import replace_file

SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html"}
WRONG_COMMAND, DONE = 2, 0


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
        "--sort", choices=("mce", "test", "name"), default="mce", help="which group is first (default: mce)"
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
    parser.add_argument("--published", action="store_true", help="add published figures, marked as such")
    return parser


def render(comparison: Comparison, *, form: str, published: bool, link_from: Path) -> str:
    if form == "html":
        from tenet.compare.page import page

        return page(comparison, published=published, link_from=link_from)
    writers = {
        "terminal": text.terminal,
        "markdown": text.markdown,
        "latex": text.latex,
        "csv": text.csv_text,
    }
    return writers[form](comparison, published=published)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; what the user can mend is told in one line."""
    asked = parser().parse_args(arguments)
    suffix = asked.output.suffix if asked.output else ""
    try:
        runs = [read_run(folder) for folder in find_runs(asked.runs)]
        comparison = compare(runs, by=asked.by, sort=asked.sort, baseline=asked.baseline)
        link_from = asked.output.parent if asked.output else Path()
        form = asked.format or SUFFIXES.get(suffix, "terminal")
        rendered = render(comparison, form=form, published=asked.published, link_from=link_from)
        if asked.output is None:
            sys.stdout.write(rendered)
        else:
            replace_file(asked.output, rendered)
            print(asked.output)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_COMMAND
    return DONE


if __name__ == "__main__":
    sys.exit(main())
