"""The report in a real browser: it renders without complaint, and what it shows is what the files say."""

import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import opened, running_browser
from made_runs import make_run
from playwright.sync_api import Browser, Locator, Page

from benchmark.report.html import write_report
from benchmark.runs.records import RunFiles

SERVERS = ("baseline", "optimized", "dynamic_batching")
NAMES = {server.replace("_", " ").capitalize(): server for server in SERVERS}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    return make_run(tmp_path_factory.mktemp("run"), servers=SERVERS, users=(10, 50), source="random")


@pytest.fixture(scope="module")
def report(run: RunFiles) -> Path:
    return write_report(run)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, report: Path) -> Page:
    return opened(browser, report, 1200)[0]


def figures_of(run: RunFiles) -> dict[tuple[str, int], dict[str, float]]:
    return {
        (record["cell"]["server"], record["cell"]["users"]): record["figures"] for record in run.read_cells()
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_the_report_renders_without_complaint_or_sideways_scrolling(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    page, complaints = opened(browser, report, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = [svg.bounding_box() for svg in page.locator("figure svg").all()]
    assert boxes and all(box and 0 < box["width"] <= width and box["height"] > 100 for box in boxes)
    assert complaints == []


def test_the_page_and_its_charts_follow_light_and_dark(browser: Browser, report: Path) -> None:
    look = """() => {
        const text = document.querySelector("figure svg g[id*=text_] g");
        return [getComputedStyle(document.body).backgroundColor, getComputedStyle(text).fill];
    }"""
    light, dark = (opened(browser, report, 1200, scheme)[0].evaluate(look) for scheme in ("light", "dark"))
    (page_light, text_light), (page_dark, text_dark) = (map(brightness, found) for found in (light, dark))
    assert page_light - text_light > 80 and text_dark - page_dark > 80


def brightness(colour: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_pointing_at_a_mark_shows_the_figure_of_the_file(run: RunFiles, page: Page) -> None:
    figures, tip = figures_of(run), page.locator("#tip")
    seen = set()
    units = {"requests a second": "throughput_rps", "ms p50": "p50_ms", "ms p95": "p95_ms"}
    for chart in ("throughput", "latency"):
        for mark in page.locator(f"#{chart}-translation-unique-x1 .value").all():
            mark.hover(force=True)
            found = re.fullmatch(r"([\w ]+), (\d+) users: ([\d.,]+) (.+)", tip.inner_text())
            if found:
                cell, unit = (NAMES[found[1]], int(found[2])), found[4]
                assert float(found[3].replace(",", "")) == pytest.approx(
                    figures[cell][units[unit]], abs=0.006
                )
                seen.add((*cell, unit))
    assert {key for key in seen if key[2] != "ms p95"} == {
        (*cell, unit) for cell in figures for unit in ("requests a second", "ms p50")
    }


def test_the_keyboard_reads_a_charts_values(page: Page) -> None:
    chart, tip = page.locator("#throughput-translation-unique-x1"), page.locator("#tip")
    page.keyboard.press("Tab")
    chart.focus()
    page.keyboard.press("Home")
    first = tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert first.startswith("Baseline, 10 users: ") and tip.inner_text().startswith("Baseline, 50 users: ")
    page.keyboard.press("Escape")
    assert tip.inner_text() == ""


def test_every_cell_of_the_tables_is_that_of_its_file(run: RunFiles, page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    table = page.locator("table", has_text="load CPU").last
    headings = table.locator("thead th").all_inner_texts()
    rows = {
        one[0]: dict(zip(headings, one, strict=True)) for one in map(texts, table.locator("tbody tr").all())
    }
    columns = {"RPS": "throughput_rps", "p50, ms": "p50_ms", "p95, ms": "p95_ms", "max, ms": "max_ms"}
    for (server, users), figures in figures_of(run).items():
        row = rows[f"{server}-translation-unique-x1-u{users}-r1"]
        for heading, name in columns.items():
            if figures[name] is None:
                assert row[heading] == "–"
            else:
                assert number(row[heading]) == pytest.approx(figures[name], abs=0.051)
    short = page.locator("section table").first
    for row in map(texts, short.locator("tbody tr").all()):
        own = figures_of(run)[row[1].replace(" ", "_"), 50]
        assert number(row[2]) == pytest.approx(own["throughput_rps"], rel=0.05)


def test_without_raw_requests_the_figures_stay_and_the_page_names_where_they_are(
    run: RunFiles, report: Path, tmp_path: Path
) -> None:
    ignored = shutil.ignore_patterns("*.requests.csv.xz")
    pages = [report, write_report(RunFiles(shutil.copytree(run.folder, tmp_path / "run", ignore=ignored)))]
    before, after = (html.unescape(one.read_text()) for one in pages)
    assert "raw requests: cells/*.requests.csv.xz" in before
    assert "raw requests: in the run's folder on the machine that measured it" in after
    link = re.compile(r', <a href="[^"]*">requests.csv.xz</a>|<a href="[^"]*">requests.csv.xz</a>, ')
    assert tables(after) == [link.sub("", table) for table in tables(before)] != tables(before)
    charts = [set(re.findall(r'<svg [^>]*id="([a-z0-9]+)', one)) for one in (before, after)]
    # Those that show each request.
    assert charts[0] - charts[1] == {"distribution", "queue", "timeline"}


def tables(page: str) -> list[str]:
    return re.findall("<table.*?</table>", page, re.DOTALL)


def number(text: str) -> float:
    return float(text.replace(",", ""))


def texts(row: Locator) -> list[str]:
    return row.locator("th, td").all_inner_texts()
