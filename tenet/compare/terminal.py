"""A comparison in the terminal: labels fold to fit its width, and figures are never cut off."""

import io
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Literal

from tenet.compare.facts import facts, title
from tenet.compare.groups import Comparison
from tenet.compare.keys import short_label
from tenet.compare.text import NOTES, Sheet, notes, sheets

FACT = 10  # width of the names of facts, in characters
FOLD = 12  # longer words in labels may fold, in characters
BORDER = 3  # characters per column


def terminal(comparison: Comparison, *, published: bool = False) -> str:
    width = shutil.get_terminal_size((160, 24)).columns
    about = [f"  {name:<{FACT}}{text}" for name, text in facts(comparison)]
    tables = [table_text(sheet, width=width) for sheet in sheets(comparison, published=published)]
    lines = notes(comparison, published=published)
    lines = [NOTES, *lines] if lines else []
    return "".join(
        [*(f"{line}\n" for line in (title(comparison), *about)), *tables, *(f"{line}\n" for line in lines)]
    )


def table_text(sheet: Sheet, *, width: int) -> str:
    """The title and the table.

    If the columns do not fit, those of the keys become one. If that is not enough, intervals and pairs move
    below their figures. A table that still does not fit is printed wider than the terminal.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_joined = _least_width(sheet) > width and sheet.labels > 1
    if is_joined:
        keys, rest = sheet.header[: sheet.labels], slice(sheet.labels, None)
        rows = tuple((short_label(keys, row[: sheet.labels]), *row[rest]) for row in sheet.rows)
        sheet = sheet._replace(header=("group", *sheet.header[rest]), rows=rows, labels=1)
    if _least_width(sheet) > width:
        rows = tuple(tuple(re.sub(r" (?=[\[(]\S)", "\n", cell) for cell in row) for row in sheet.rows)
        sheet = sheet._replace(rows=rows)
    has_lines = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    table = Table(show_lines=is_joined, box=box.HEAVY_HEAD if has_lines else box.ASCII)
    total, remaining = _least_width(sheet), max(0, width - _least_width(sheet))
    for index, (heading, least, longest) in enumerate(_columns(sheet)):
        # The space that remains goes to the columns that need it, from the left.
        more = max(0, min(longest - least, remaining))
        remaining, total = remaining - more, total + more
        justify: Literal["left", "right"] = "left" if index < sheet.labels else "right"
        table.add_column(Text(heading), justify=justify, overflow="fold", width=least + more)
    for row in sheet.rows:
        table.add_row(*map(Text, row))  # Text, since rich reads brackets in a str as markup
    console = Console(file=io.StringIO(), width=max(width, total))
    console.print(Text(sheet.title), soft_wrap=True)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def _columns(sheet: Sheet) -> Iterator[tuple[str, int, int]]:
    """Each column's heading, least width and greatest useful width.

    At the least width, long words in labels fold, and figures do not break. The last part of a key has a line of its
    own, so that more columns fit.
    """
    for index, (name, *cells) in enumerate(zip(sheet.header, *sheet.rows, strict=True)):
        is_label = index < sheet.labels
        heading = ".\n".join(name.rsplit(".", 1)) if is_label else name
        lines = [line for text in (heading, *cells) for line in text.split("\n")]
        word = max(len(word) for line in lines for word in line.split())
        figure = max(len(line) for cell in cells for line in cell.split("\n"))
        yield heading, min(word, FOLD) if is_label else max(word, figure), max(map(len, lines))


def _least_width(sheet: Sheet) -> int:
    return sum(least + BORDER for _, least, _ in _columns(sheet)) + 1
