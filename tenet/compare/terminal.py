"""A table that fits the terminal: what tells groups apart is folded, figures never are."""

import io
import re
import shutil
import sys
from collections.abc import Sequence

from tenet.compare.groups import Comparison
from tenet.compare.keys import short_label
from tenet.compare.text import NOTES, Sheet, notes, sheets

FOLD = 12  # characters of a longer word that stay in one line
BORDER = 3  # characters to a column


def table_text(sheet: Sheet, *, width: int) -> str:
    """The title and the table.

    Where the columns don't fit, those of keys become one, and then a figure's interval and pairs stand below
    it. What is wider even so is printed wider than the terminal, and not cut.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    header, rows, labels = sheet.header, sheet.rows, sheet.labels
    is_joined = _needed(header, rows, labels) > width and labels > 1
    if is_joined:
        header = ("group", *header[labels:])
        rows = tuple((short_label(sheet.header[:labels], row[:labels]), *row[labels:]) for row in rows)
        labels = 1
    if _needed(header, rows, labels) > width:
        rows = tuple(
            (*row[:labels], *(re.sub(r" (?=[\[(])", "\n", cell) for cell in row[labels:])) for row in rows
        )
    widths = _widths(header, rows, labels, width)
    console = Console(file=io.StringIO(), width=max(width, sum(widths) + BORDER * len(widths) + 1))
    console.print(Text(sheet.title), soft_wrap=True)
    has_lines = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    table = Table(show_lines=is_joined, box=box.HEAVY_HEAD if has_lines else box.ASCII)
    for index, (name, column_width) in enumerate(zip(header, widths, strict=True)):
        is_label = index < labels
        table.add_column(
            Text(_heading(name, is_label=is_label)),
            justify="left" if is_label else "right",
            overflow="fold",
            width=column_width,
        )
    for row in rows:
        # Text, not str: rich would read brackets in names as its markup.
        table.add_row(*map(Text, row))
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def _heading(name: str, *, is_label: bool) -> str:
    """A key's last part on a line of its own: three more columns fit."""
    return ".\n".join(name.rsplit(".", 1)) if is_label else name


def _least(header: Sequence[str], rows: Sequence[Sequence[str]], labels: int) -> list[int]:
    """Widths at which words fold, but no figure breaks."""
    found = []
    for index, (name, *cells) in enumerate(zip(header, *rows, strict=True)):
        is_label = index < labels
        words = [len(word) for text in (_heading(name, is_label=is_label), *cells) for word in text.split()]
        figures = [len(line) for cell in cells for line in cell.split("\n")]
        found.append(min(max(words), FOLD) if is_label else max(words + figures))
    return found


def _needed(header: Sequence[str], rows: Sequence[Sequence[str]], labels: int) -> int:
    return sum(_least(header, rows, labels)) + BORDER * len(header) + 1


def _widths(header: Sequence[str], rows: Sequence[Sequence[str]], labels: int, width: int) -> list[int]:
    """The least, and what is left of the width to the columns that have use for it, from the left."""
    widths = _least(header, rows, labels)
    left = width - _needed(header, rows, labels)
    for index, (name, *cells) in enumerate(zip(header, *rows, strict=True)):
        texts = [_heading(name, is_label=index < labels), *cells]
        longest = max(len(line) for text in texts for line in text.split("\n"))
        more = max(0, min(longest - widths[index], left))
        widths[index] += more
        left -= more
    return widths


def terminal(comparison: Comparison, *, published: bool = False) -> str:
    width = shutil.get_terminal_size((160, 24)).columns
    tables = [table_text(sheet, width=width) for sheet in sheets(comparison, published=published)]
    lines = notes(comparison)
    return "".join([*tables, *(f"{line}\n" for line in ([NOTES] if lines else []) + lines)])
