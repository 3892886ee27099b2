"""Charts and report say what the run's files say, and every text of theirs can be read."""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import RATES, make_run
from matplotlib.text import Text
from PIL import Image

from benchmark.charts import axes, caption, queue_share, style
from benchmark.charts import draw as plots
from benchmark.charts.data import RunData
from benchmark.charts.labels import spread
from benchmark.charts.sheet import wrapped
from benchmark.report.html import write_report
from benchmark.runs.records import Cell, RunFiles

Boxes = dict[str, list[tuple[str, np.ndarray]]]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """Three servers, one of them too slow for a p95, with an invalid and a failed cell."""
    return make_run(
        tmp_path_factory.mktemp("three"),
        servers=("baseline", "optimized", "dynamic_batching"),
        repeats=2,
        rates=RATES | {"baseline": 4.0},
        source="random",
        states={("dynamic_batching", 10, 1): "invalid", ("baseline", 100, 2): "failed"},
    )


@pytest.fixture(scope="module")
def drawn(three: RunFiles) -> list[Path]:
    return plots.draw_all(three)


@pytest.fixture(scope="module")
def page(three: RunFiles, drawn: list[Path]) -> ElementTree.Element:
    return ElementTree.fromstring(write_report(three).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def three_texts(three: RunFiles) -> Boxes:
    return dict(texts_drawn(three))


def texts_drawn(
    run: RunFiles, format_: style.Format = style.PICTURE
) -> Iterator[tuple[str, list[tuple[str, np.ndarray]]]]:
    """Each chart's name, with every text it really draws and the text's box in pixels."""
    original = Text.draw
    for drawing in plots.drawings(RunData(run)):
        found: list[Text] = []

        def record(text: Text, *args: object, found: list[Text] = found, **options: object) -> None:
            if text.get_visible() and text.get_text():
                found.append(text)
            original(text, *args, **options)

        with style.applied(format_):
            sheet = drawing.draw()
            sheet.lay_out()
            with mock.patch.object(Text, "draw", record):
                sheet.figure.canvas.draw()
            boxes = [(text.get_text(), text.get_window_extent().get_points()) for text in found]
        yield drawing.name, boxes


def assert_readable(charts: Boxes, format_: style.Format = style.PICTURE) -> None:
    """No text is cut off by the picture's edge, and no two texts touch."""
    size = np.array([format_.width, format_.height]) * style.DENSITY
    for chart, boxes in charts.items():
        assert boxes
        for text, box in boxes:
            assert (box[0] >= 0).all() and (box[1] <= size).all(), f"{chart}: {text!r} is cut off"
        for (one, a), (other, b) in combinations(boxes, 2):
            common = np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])
            # A line's box has room for accents that no text here has.
            assert common.min() <= 4, f"{chart}: {one!r} touches {other!r}"


def test_every_chart_is_written_as_png_and_svg_in_the_same_size(drawn: list[Path]) -> None:
    stems = {path.with_suffix("") for path in drawn}
    assert len(drawn) == 2 * len(stems)
    names = {stem.name.replace("-translation-unique-x1", "") for stem in stems}
    assert names == {
        "headline",
        "throughput",
        "latency",
        "p95-by-rps",
        "distribution-u10",
        "distribution-u100",
        "queue",
        "batch-size",
        "timeline-baseline",
        "timeline-optimized",
        "timeline-dynamic_batching",
        "footprint",
    }
    for stem in stems:
        with Image.open(stem.with_suffix(".png")) as image:
            assert image.size == (2400, 1350)
        root = ElementTree.parse(stem.with_suffix(".svg")).getroot()
        assert root.attrib["viewBox"] == "0 0 864 486"


def test_a_redraw_leaves_no_chart_of_an_earlier_draw(tmp_path: Path) -> None:
    run = make_run(tmp_path, users=(10,))
    stale = plots.charts_folder(run) / "footprint-of-old.png"
    stale.parent.mkdir()
    stale.touch()
    with mock.patch.object(plots, "slice_drawings", return_value=[]):
        written = plots.draw_all(run)
    assert sorted(plots.charts_folder(run).iterdir()) == sorted(written)


def test_the_same_data_give_the_same_bytes(three: RunFiles) -> None:
    charts = {drawing.name: drawing for drawing in plots.drawings(RunData(three))}
    for name in ("footprint", "p95-by-rps-translation-unique-x1"):
        with style.applied():
            assert len({charts[name].draw().svg(name) for _ in range(4)}) == 1


def test_a_caption_names_the_run_that_the_baseline_came_from(tmp_path: Path) -> None:
    run = make_run(tmp_path, users=(10,))
    run.write_run(run.read_run() | {"baseline_note": "baseline of run r1"})
    assert caption.circumstances(RunData(run), RunData(run)).endswith("baseline of run r1")


def test_texts_of_three_servers_do_not_touch_or_leave_the_picture(three_texts: Boxes) -> None:
    assert_readable(three_texts)


def test_texts_in_the_report_do_not_touch_or_leave_the_picture(three: RunFiles) -> None:
    charts = dict(texts_drawn(three, style.INLINE))
    assert_readable(charts, style.INLINE)
    assert not any("commit" in text for boxes in charts.values() for text, _ in boxes)


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"users": (10,)},
        {"rates": {"baseline": 0.0}},
        {"rates": {"baseline": 0.5}},
        {"states": {("baseline", 10, 1): "failed", ("baseline", 100, 1): "failed"}},
        {"states": {("baseline", 10, 1): "invalid", ("baseline", 100, 1): "invalid"}},
        {"servers": ("baseline", "ctranslate2"), "states": {("baseline", 100, 1): "failed"}},
    ],
    ids=["plain", "one level", "no answers", "few answers", "all failed", "all invalid", "a peer"],
)
def test_an_odd_run_is_still_drawn_readably(tmp_path: Path, case: dict) -> None:
    assert_readable(dict(texts_drawn(make_run(tmp_path, **case))))


def test_an_empty_run_has_no_charts_and_a_report(tmp_path: Path) -> None:
    run = make_run(tmp_path, users=())
    assert plots.draw_all(run) == []
    assert "No cell was measured" in write_report(run).read_text(encoding="utf-8")


def test_a_failed_and_an_invalid_cell_are_named_below_the_chart(three_texts: Boxes) -> None:
    for chart, boxes in three_texts.items():
        if chart.startswith(("throughput", "latency", "p95-by-rps")):
            told = " ".join(" ".join(text for text, _ in boxes).split())
            assert "Not drawn: 1 failed cell, the baseline at 100 users" in told
            assert "Cross: 1 invalid cell (the load generator's core was 96 % busy" in told
            assert "random weights" in told
            assert "/home" not in told


def test_an_invalid_cell_is_part_of_no_median(three: RunFiles) -> None:
    cells = RunData(three)
    medians = cells.medians("p50_ms")["dynamic_batching"]
    valid = next(
        record["figures"]["p50_ms"]
        for record in three.read_cells()
        if (record["cell"]["server"], record["cell"]["users"], record["cell"]["repeat"])
        == ("dynamic_batching", 10, 2)
    )
    assert medians[10] == pytest.approx(valid)


def test_a_percentile_below_its_floor_is_drawn_but_never_printed(three: RunFiles, three_texts: Boxes) -> None:
    assert "baseline" not in RunData(three).medians("p95_ms")
    notes = " ".join(text for text, _ in three_texts["latency-translation-unique-x1"])
    assert "Hollow: too few requests for a p95" in notes


@given(st.lists(st.floats(-20, 420), min_size=1, max_size=9))
def test_spread_keeps_order_gap_and_bounds(wanted: list[float]) -> None:
    places = spread(wanted, 33, 0, 400)
    ordered = places[np.argsort(wanted, kind="stable")]
    assert ordered[0] >= -1e-6 and ordered[-1] <= 400 + 1e-6
    assert all(np.diff(ordered) >= 33 - 1e-6)


def test_spread_moves_nothing_that_has_room() -> None:
    assert [*spread([50, 200], 33, 0, 400)] == [50, 200]


@given(st.lists(st.text("abcdefgmw%1", min_size=1, max_size=12), min_size=1, max_size=40))
def test_wrapping_keeps_every_word_and_the_width(words: list[str]) -> None:
    lines = wrapped(" ".join(words), style.TITLE, 1148, "bold")
    assert " ".join(lines).split() == words
    assert all(style.width_of(line, style.TITLE, "bold") <= 1148 for line in lines)


@pytest.mark.parametrize("values", [[812.0, 9100.0], [0.02], [5.0, 5.0], [], [1.0, 100.0], [3e6, 4e6]])
def test_latency_ticks_are_1_2_5_and_hold_every_value(values: list[float]) -> None:
    ticks = axes.ticks_1_2_5(values)
    assert len(ticks) >= 3
    assert {f"{tick:.0e}"[0] for tick in ticks} <= {"1", "2", "5"}
    assert all(ticks[0] <= value * 1.001 and value <= ticks[-1] * 1.001 for value in values)


def test_time_shares_follow_from_the_requests(three: RunFiles) -> None:
    cells = RunData(three)
    shares = queue_share.time_shares(cells.where(server="optimized"))
    assert [*shares.index] == [("optimized", 10), ("optimized", 100)]
    assert shares.to_numpy() == pytest.approx(np.array([[0.7, 0.3, 0]] * 2), abs=1e-9)


def test_inference_on_several_threads_never_takes_more_than_all_of_the_time() -> None:
    requests = pd.DataFrame({"latency_ms": [10.0], "queue_ms": [2.0], "inference_ms": [14.0]})
    assert queue_share.split(requests) == pytest.approx([2 / 16, 14 / 16, 0])


def test_no_batching_chart_without_queue_times_or_batch_sizes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for path in run.cells_folder.glob("*.csv.xz"):
        pd.read_csv(path).assign(queue_ms=None, inference_ms=None).to_csv(path, index=False)
    assert not [one for one in plots.drawings(RunData(run)) if one.name.startswith(("queue", "batch-size"))]


def test_the_report_names_the_state_of_every_cell(three: RunFiles, page: ElementTree.Element) -> None:
    rows = [["".join(one.itertext()) for one in row] for row in page.iterfind(".//tbody/tr")]
    for record in three.read_cells():
        (row,) = [row for row in rows if row[0] == Cell(**record["cell"]).name]
        assert row[1].startswith(record["status"])
    assert any("1 of 2" in row and row[0] == "Baseline" for row in rows)


def test_the_report_holds_every_chart_and_asks_nothing_of_the_network(
    page: ElementTree.Element, drawn: list[Path], three: RunFiles
) -> None:
    ids = [element.attrib["id"] for element in page.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    assert {path.stem for path in drawn} <= set(ids)
    for element in page.iter():
        assert not element.tag.endswith("iframe")
        for key, value in element.attrib.items():
            if not key.endswith(("href", "src")):
                for target in re.findall(r"url\(#([^)]*)\)", value):
                    assert target in ids
            elif value.startswith("#"):
                assert value[1:] in ids
            elif not value.startswith("data:"):
                assert (three.folder / value).exists(), f"{value} leads nowhere"


def test_the_report_escapes_what_the_files_hold(three: RunFiles, page: ElementTree.Element) -> None:
    text = (three.folder / "report.html").read_text(encoding="utf-8")
    assert text.count("<script") == 1  # the page's own
    assert "&lt;script&gt;" in text
    assert "random weights" in text
