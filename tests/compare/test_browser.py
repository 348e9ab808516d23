"""The comparison page in a real browser."""

import pytest

from tenet.compare.__main__ import main
from tests.compare import browser as chromium
from tests.compare.folders import PLAIN, TENET, write_nine_keys, write_run

pytestmark = pytest.mark.skipif(
    chromium.CHROMIUM is None, reason="needs chromium on PATH (Debian: apt install chromium)"
)
EVIL = "<script>document.title='taken'<"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A grid, plain runs, an X-ray, an unfinished run, and names that try to run a script."""
    top = tmp_path_factory.mktemp("page")
    for seed in (0, 1, 2):
        for groups in (2, 4, 12):
            for weight in (0.1, 1.0):
                tenet = {**TENET, "groups": groups, "weight": weight, "layer": EVIL}
                folder = top / "runs" / f"{groups}-{weight}-{seed}"
                write_run(folder, seed=seed, tenet=tenet, mce=groups + 9 * weight + seed)
        write_run(top / "runs" / EVIL / str(seed), seed=seed, tenet=PLAIN, mce=30)
    # One group has no mCE: a row without a number in the sorted column.
    write_run(
        top / "runs" / "bare", seed=0, mce=None, tenet={**TENET, "groups": 99, "weight": 1.0, "layer": EVIL}
    )
    write_run(top / "runs" / "cut", seed=0, epoch=1)
    (folder / "evaluation" / "xray.png").write_bytes(PNG)
    assert main([str(top / "runs"), "--published", "--output", str(top / "page.html")]) == 0
    return top / "page.html"


@pytest.fixture
def opened(window, page):
    window.resize(1280, 900)
    window.prefer("light")
    window.errors(), window.requests()
    window.open(page)
    return window


def column(window, index):
    """The texts in a column of the first table."""
    return window.run(
        f"return [...document.querySelector('table').tBodies[0].rows].map(r => r.cells[{index}].textContent)"
    )


@pytest.mark.slow
def test_a_click_on_a_heading_sorts_by_number_and_a_second_click_reverses(opened):
    mces = column(opened, 4)
    assert mces[-1] == "-"
    opened.click("table th:nth-child(5) button")
    assert column(opened, 4) == mces, "the page is sorted by mCE at first"
    opened.click("table th:nth-child(5) button")
    assert column(opened, 4) == [*reversed(mces[:-1]), "-"], "cells without a number stay last"
    assert opened.run("return document.querySelectorAll('th[aria-sort=descending]').length") == 1
    opened.click("table th:nth-child(2) button")
    assert column(opened, 1) == ["-", "2", "2", "4", "4", "12", "12", "99"], "numbers sort by size"


def test_nothing_is_fetched_and_the_console_stays_empty(opened, page):
    opened.click("table th button")
    opened.run("return document.querySelectorAll('details').forEach(d => { d.open = true })")
    asked = [address for address in opened.requests() if not address.startswith("data:image/png;base64,")]
    assert asked == [page.as_uri()]
    assert opened.errors() == []


def test_folder_names_and_values_run_no_script(opened):
    assert opened.run("return document.title") == "digits, generated corruptions"
    assert opened.run("return document.scripts.length") == 1
    assert EVIL in opened.run("return document.body.innerText")


def test_links_lead_to_the_run_folders(opened, page):
    links = opened.run("return [...document.querySelectorAll('td a')].map(a => a.href)")
    folders = {folder.as_uri() + "/" for folder in (page.parent / "runs").glob("*-*-*")}
    assert len(links) == 23
    assert folders < set(links)


def test_pictures_surfaces_charts_and_heatmaps_are_shown_at_their_sizes(opened):
    assert opened.run("return document.querySelector('img').naturalWidth") == 1
    assert opened.run("return document.querySelectorAll('.surface table').length") == 1
    assert opened.run("return document.querySelectorAll('.heat').length") == 8
    boxes = opened.run(
        "return [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)"
    )
    assert boxes == [584.0] * 4, "severity, difference by corruption, test error, training loss"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_readable(opened, scheme):
    opened.prefer(scheme)
    opened.run(CONTRAST)
    ratios = opened.run("return window.contrasts")
    assert len(ratios) > 200
    assert min(ratios) >= 4.5
    background = opened.run("return getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 22, 27)"}[scheme]


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_nothing_is_wider_than_the_window(opened, width):
    opened.resize(width, 800)
    assert opened.run("return document.documentElement.scrollWidth") == width


def test_on_a_phone_every_figure_of_the_tables_is_visible_and_named(opened):
    opened.resize(390, 844)
    boxes = opened.run(
        "return [...document.querySelectorAll('.figures .figure')].filter(e => e.tagName === 'TD')"
        ".map(e => [e.getBoundingClientRect().right, getComputedStyle(e, '::before').content])"
    )
    assert len(boxes) > 60
    assert max(right for right, _ in boxes) <= 390
    assert {name.strip('"') for _, name in boxes} >= {"test error, %", "mCE, generated, %", "seeds"}


def test_figures_are_visible_next_to_nine_keys(window, tmp_path):
    assert main([str(write_nine_keys(tmp_path)), "--output", str(tmp_path / "page.html")]) == 0
    window.resize(1280, 900)
    window.open(tmp_path / "page.html")
    beyond = "return [...document.querySelectorAll('.scroll')].map(s => s.scrollWidth - s.clientWidth)"
    assert max(window.run(beyond)) == 0


def test_words_are_not_broken(opened):
    lines = opened.run(
        """const range = document.createRange();
        const cells = [...document.querySelectorAll('.sortable td')].filter(e => e.textContent === 'inhibition');
        return cells.map(cell => {
          range.selectNodeContents(cell);
          return range.getClientRects().length;
        });"""
    )
    assert set(lines) == {1}


# The contrast of each text with its background (WCAG 2), in the colours that the browser paints.
CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const light = color => {
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(
    v => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = element => {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if (color !== "rgba(0, 0, 0, 0)") return color;
  }
};
window.contrasts = [...document.querySelectorAll("h1, h2, h3, p, th, td, a, button, summary, .legend > span, svg text")]
  .filter(element => element.textContent.trim())
  .map(element => [light(getComputedStyle(element).color), light(behind(element))])
  .map(([a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
"""
