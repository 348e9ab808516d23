"""A comparison as one HTML page that needs nothing else: no network, no files beside it.

Names, keys and values come from run folders, which may be others': every text is escaped.
"""

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from tenet.compare.charts import CURVES, colour, curves_svg, heatmap, mean_cells, mean_curve, metrics_of
from tenet.compare.groups import Comparison, printable, value_text
from tenet.compare.runs import Run
from tenet.compare.text import LEFT_OUT, Sheet, mixed_note, sheets

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #111; background: #fff; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #ddd; }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.sortable th { border-bottom: 2px solid #111; }
.sortable th button { all: unset; cursor: pointer; font-weight: 600; }
.sortable th button:focus-visible { outline: 2px solid #0072b2; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
.row { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.published { color: #555; font-style: italic; }
.heat th, .heat td { padding: .05rem .4rem; font-size: 12px; font-weight: 400; border: 0; }
.heat caption { font-size: 13px; max-width: 20rem; }
.heat td { text-align: right; min-width: 2rem; }
.extra { opacity: .65; }
figure { margin: 0; width: 440px; max-width: 100%; }
svg text { font: 11px system-ui, sans-serif; fill: #555; }
.grid { stroke: #ddd; }
.line { fill: none; stroke-width: 1.6; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
"""

# Sorts by the number a cell starts with, or else by its text; what has no number stands last either way.
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const text = row => row.cells[column].textContent;
    const isFigure = head.className === "figure";
    const compare = (a, b) => {
      if (!isFigure) return sign * text(a).localeCompare(text(b), undefined, {numeric: true});
      const [x, y] = [parseFloat(text(a)), parseFloat(text(b))];
      return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}
"""


def page(comparison: Comparison, *, published: bool = False, link_from: Path) -> str:
    """link_from: the folder the page will lie in, for relative links to the run folders."""
    tables = sheets(comparison, published=published)
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Comparison of runs</title>',
        f"<style>{STYLE}</style></head><body><h1>Comparison of runs</h1>",
        *map(_table, tables),
        _differences(comparison),
        _curves(comparison),
        *(_heatmaps(comparison, column) for column in comparison.columns),
        _runs(comparison, link_from),
        f"<script>{SCRIPT}</script></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _table(sheet: Sheet) -> str:
    kinds = ["" if index < sheet.labels else ' class="figure"' for index in range(len(sheet.header))]
    cells = zip(kinds, sheet.header, strict=True)
    head = "".join(
        f'<th scope="col"{kind}><button type="button">{escape(text)}</button></th>' for kind, text in cells
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(kinds, row, strict=True))
        + "</tr>"
        for row in sheet.rows
    )
    look = "sortable published" if sheet.is_published else "sortable"
    caption = f"<caption>{escape(sheet.title)}</caption>"
    return f'<table class="{look}">{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _differences(comparison: Comparison) -> str:
    """Every key with more than one value over all runs, also those that the groups are not told apart by."""
    configs = [run.config for run in comparison.runs if run.is_finished]
    rows = []
    for key in sorted({key for config in configs for key in config}):
        values = [[value_text(run.config, key) for run in group.runs] for group in comparison.groups]
        if len({text for texts in values for text in texts}) > 1:
            joined = [", ".join(dict.fromkeys(texts)) for texts in values]
            rows.append(
                f"<tr><td>{escape(key)}</td>{''.join(f'<td>{escape(text)}</td>' for text in joined)}</tr>"
            )
    head = "".join(f"<th>{escape(comparison.label(group))}</th>" for group in comparison.groups)
    table = f"<table><thead><tr><th>key</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<h2>Differing configuration keys</h2>{table}" if rows else ""


def _curves(comparison: Comparison) -> str:
    series = [[metrics_of(run) for run in group.runs] for group in comparison.groups]
    charts = [curves_svg([mean_curve(rows, metric) for rows in series], title=metric) for metric in CURVES]
    if not any(charts):
        return ""
    legend = "".join(
        f'<span><span class="swatch" style="background:{colour(index)}"></span>'
        f"{escape(comparison.label(group))}</span>"
        for index, group in enumerate(comparison.groups)
    )
    about = (
        "Mean over seeds; the band is one sample deviation either way. The vertical axes are square roots."
    )
    heading = f"<h2>Training curves</h2><p>{about}</p>"
    return f'{heading}<div class="row">{legend}</div><div class="row">{"".join(charts)}</div>'


def _heatmaps(comparison: Comparison, column: str) -> str:
    tables = [mean_cells(group, column) for group in comparison.groups]
    top = max((error for cells in tables for row in cells.values() for error in row.values()), default=0.0)
    maps = [
        heatmap(cells, title=comparison.label(group), top=top)
        for group, cells in zip(comparison.groups, tables, strict=True)
    ]
    if not any(maps):
        return ""
    about = "Error in % by corruption and severity, mean over seeds; pale rows are not part of the mCE."
    return f'<h2>{escape(column)}</h2><p>{about}</p><div class="row">{"".join(maps)}</div>'


def _runs(comparison: Comparison, link_from: Path) -> str:
    items = "".join(f"<li>{_link(run, link_from)}</li>" for run in comparison.runs if run.is_finished)
    lines = [escape(line) for line in mixed_note(comparison)] + [
        f"{_link(run, link_from)}: {escape(printable(run.problem))}" for run in comparison.problems
    ]
    left_out = "".join(f"<li>{line}</li>" for line in lines)
    return f"<h2>Runs</h2><ul>{items}</ul>" + (
        f"<h2>{LEFT_OUT[:-1]}</h2><ul>{left_out}</ul>" if lines else ""
    )


def _link(run: Run, link_from: Path) -> str:
    # Quoted whole, the colon too: no folder's name can pass for a scheme.
    address = quote(Path(os.path.relpath(run.folder, link_from)).as_posix()) + "/"
    seed = f" (seed {run.seed})" if run.is_finished else ""
    return f'<a href="{escape(address)}">{escape(printable(str(run.folder)))}</a>{seed}'
