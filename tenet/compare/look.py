"""How the comparison page looks in light and dark, and the script that sorts its tables."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #16181d; --faint: #5b616e; --rule: #dfe2e8; --hot: #b9440b;
  --on-hot: #fff; --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14161b; --ink: #e8eaee; --faint: #a2a9b6; --rule: #343945; --hot: #ff9b5e; --on-hot: #14161b;
    --link: #7db7f5; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 0; }
p { margin: .2rem 0 .8rem; color: var(--faint); max-width: 60rem; }
a { color: var(--link); }
.sortable :is(td, th):not(.figure) { overflow-wrap: anywhere; min-width: 3.5rem; padding-right: .8rem; }
.heat th { white-space: nowrap; }
.scroll { overflow-x: auto; margin: .5rem 0 1.5rem; }
table { border-collapse: collapse; }
th, td { padding: .25rem 1.2rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
.figure { text-align: right; font-variant-numeric: tabular-nums; padding-left: .7rem; }
.sortable td:first-child { min-width: 5rem; }
.figure span { white-space: nowrap; }
thead th { border-bottom: 2px solid var(--ink); vertical-align: bottom; }
button { all: unset; cursor: pointer; font-weight: 600; }
button:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
.row { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.legend { gap: .2rem 1.5rem; margin: .5rem 0 1rem; }
.published { color: var(--faint); font-style: italic; }
.heat { font-size: 12px; font-variant-numeric: tabular-nums; }
.heat th, .heat td { padding: .1rem .4rem; border: 0; font-weight: 400; text-align: right; vertical-align: middle; }
.heat tbody th { text-align: left; }
.heat caption { text-align: left; font-size: 13px; font-weight: 600; padding: .3rem 0; max-width: 22rem; }
.heat td { min-width: 2rem; background: color-mix(in oklab, var(--hot) var(--share, 0%), var(--page)); }
.heat .strong { color: var(--on-hot); }
.heat .best { font-weight: 700; outline: 2px solid var(--ink); outline-offset: -2px; }
.surface td { padding: .5rem .7rem; white-space: nowrap; }
.extra { opacity: .6; }
figure { margin: 0; width: 440px; max-width: 100%; }
figcaption { font-weight: 600; font-size: 13px; }
svg { width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.grid { stroke: var(--rule); }
.line { fill: none; stroke-width: 1.6; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
details { margin: .5rem 0; }
summary { cursor: pointer; }
img { max-width: 100%; height: auto; background: #fff; margin: .5rem 0; }
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
