"""Charts and report say what the run's files say, and every text of theirs can be read."""

import random
import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from made_runs import RATES, make_run
from matplotlib.text import Text
from PIL import Image

from benchmark.charts import axes, queue_share, style, titles
from benchmark.charts import draw as plots
from benchmark.charts.data import RunData
from benchmark.charts.labels import spread
from benchmark.report.html import write_report
from benchmark.runs.records import Cell, RunFiles

SEEDS = range(300)

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


def test_spread_keeps_order_gap_and_bounds() -> None:
    for rng in map(random.Random, SEEDS):
        wanted = [rng.uniform(-20, 420) for _ in range(rng.randint(1, 9))]
        places = spread(wanted, 33, 0, 400)
        ordered = sorted(places)
        assert ordered[0] >= -1e-6 and ordered[-1] <= 400 + 1e-6
        assert all(later - earlier >= 33 - 1e-6 for earlier, later in pairwise(ordered))
        ranks = sorted(range(len(wanted)), key=wanted.__getitem__)
        assert [places[index] for index in ranks] == ordered
    assert [*spread([50, 200], 33, 0, 400)] == [50, 200]


@pytest.mark.parametrize("values", [[812.0, 9100.0], [0.02], [5.0, 5.0], [], [1.0, 100.0], [3e6, 4e6]])
def test_latency_ticks_are_1_2_5_and_hold_every_value(values: list[float]) -> None:
    ticks = axes.ticks_1_2_5(values)
    assert len(ticks) >= 3
    assert {f"{tick:.0e}"[0] for tick in ticks} <= {"1", "2", "5"}
    assert all(ticks[0] <= value * 1.001 and value <= ticks[-1] * 1.001 for value in values)


LEVELS = (10, 50, 100)
NUMBER = r"([\d,.]*\d)"


def some_medians(rng: random.Random, servers: int) -> titles.Medians:
    """Figures over four decades, flat ones among them, with levels missing here and there."""
    found = {}
    for server in list(RATES)[:servers]:
        base = 10 ** rng.uniform(-1, 3)
        wobble = rng.choice([0.02, 0.5, 2.0])
        levels = [level for level in LEVELS if rng.random() > 0.15]
        found[server] = {level: base * 10 ** (rng.uniform(-1, 1) * wobble) for level in levels}
    return {server: levels for server, levels in found.items() if levels}


def told(pattern: str, sentence: str) -> list[float] | None:
    match = re.search(pattern, sentence)
    return [float(group.replace(",", "")) for group in match.groups()] if match else None


KINDS = (
    "No valid",
    "stays",
    "grows",
    "falls",
    "peaks",
    "dips",
    "answers",
    "alike",
    "its p50",
    "down from",
    "cuts",
)


def kinds(sentence: str) -> set[str]:
    """Which wordings it uses, for a test to see that it met them all."""
    return {kind for kind in KINDS if kind in sentence}


def near(value: float) -> object:
    """Equal to what two digits can tell."""
    return pytest.approx(value, rel=0.055)


def test_a_throughput_title_is_true_of_one_server() -> None:
    seen = set()
    for rng in map(random.Random, SEEDS):
        medians = some_medians(rng, 1)
        sentence = titles.throughput(medians, "translation")
        levels = medians.get("baseline", {})
        values = [levels[level] for level in sorted(levels)]
        seen |= kinds(sentence)
        if not values:
            assert sentence == "No valid throughput of translation was measured"
        elif len(values) == 1:
            assert told(rf"answers {NUMBER} .* at {NUMBER} user", sentence) == [near(values[0]), min(levels)]
        elif figures := told(rf"stays (?:at|near) {NUMBER} ", sentence):
            assert max(values) <= 1.1 * min(values)
            assert min(values) * 0.94 <= figures[0] <= max(values) * 1.06
        elif figures := told(
            rf"(?:grows|falls) from {NUMBER} to {NUMBER} .* from {NUMBER} to {NUMBER} users", sentence
        ):
            assert figures == [near(values[0]), near(values[-1]), min(levels), max(levels)]
            assert ("grows" in sentence) == (values[-1] > values[0])
        elif figures := told(rf"peaks at {NUMBER} .* at {NUMBER} users", sentence):
            assert figures[0] == near(max(values)) and levels[int(figures[1])] == max(values)
        else:
            figures = told(rf"dips to {NUMBER} .* at {NUMBER} users", sentence)
            assert figures and figures[0] == near(min(values)) and levels[int(figures[1])] == min(values)
    assert seen >= {"No valid", "stays", "grows", "falls", "peaks", "dips", "answers"}


def test_a_comparison_of_throughput_is_true() -> None:
    seen = set()
    for rng in map(random.Random, SEEDS):
        medians = some_medians(rng, 4)
        sentence = titles.throughput(medians, "translation")
        seen |= kinds(sentence)
        where = told(rf"at {NUMBER} users", sentence)
        if figures := told(rf"answers {NUMBER}x ", sentence):
            assert where
            at = titles.at_level(medians, int(where[0]))
            best = max(at, key=at.__getitem__)
            assert sentence.startswith(titles.name(best))
            other = next(one for one in at if one != best and f"{titles.inline(one)}'s" in sentence)
            assert figures[0] == near(at[best] / at[other])
            assert other == "baseline" or best == "baseline" or "baseline" not in at
        elif "alike" in sentence:
            assert where
            at = titles.at_level(medians, int(where[0]))
            named = [value for one, value in at.items() if titles.name(one).lower() in sentence.lower()]
            assert len(named) >= 2 and max(named) <= 1.1 * min(named)
    assert seen >= {"answers", "alike"}


def test_a_latency_title_is_true() -> None:
    seen = set()
    for rng in map(random.Random, SEEDS):
        medians = some_medians(rng, rng.choice([1, 4]))
        sentence = titles.latency(medians, "translation")
        seen |= kinds(sentence)
        if figures := told(rf"^At {NUMBER} users .* p50 is {NUMBER}x its p50 at {NUMBER} users", sentence):
            server = next(one for one in medians if f"{titles.inline(one)}'s" in sentence)
            first, last = min(medians[server]), max(medians[server])
            ratio = medians[server][last] / medians[server][first]
            assert [figures[0], figures[2]] == [last, first]
            assert figures[1] == near(ratio)
        elif figures := told(rf"^At {NUMBER} users .* is {NUMBER} ms, down from {NUMBER} at", sentence):
            levels = medians["baseline"]
            assert figures[1:] == [near(levels[max(levels)]), near(levels[min(levels)])]
            assert figures[2] > figures[1]
        elif figures := told(
            rf"cuts the baseline's p50 from {NUMBER} to {NUMBER} ms at {NUMBER} users", sentence
        ):
            at = titles.at_level(medians, int(figures[2]))
            assert figures[:2] == [near(at["baseline"]), near(min(at.values()))]
            assert sentence.startswith(titles.name(min(at, key=at.__getitem__)))
    assert seen >= {"its p50", "down from", "cuts"}


def test_a_title_without_a_limit_names_each_servers_highest_rate() -> None:
    rps = {"baseline": {10: 12.0, 50: 11.0}, "dynamic_batching": {10: 100.0, 50: 250.0, 100: 255.0}}
    p95 = {"baseline": {10: 900.0, 50: 4500.0}, "dynamic_batching": {10: 130.0, 50: 300.0}}
    assert (
        titles.tradeoff(rps, p95, "translation")
        == "Dynamic batching reaches 250 requests a second at a p95 of 300 ms, the baseline 12 at 900"
    )


def test_a_queue_title_is_true() -> None:
    for rng in map(random.Random, SEEDS):
        shares = {
            server: {level: rng.random() for level in LEVELS if rng.random() > 0.15}
            for server in list(RATES)[: rng.choice([1, 3])]
        }
        shares = {server: levels for server, levels in shares.items() if levels}
        if not shares:
            continue
        sentence = titles.queue(shares)
        level = told(rf"[Aa]t {NUMBER} users", sentence)
        assert level
        at = {server: levels[int(level[0])] for server, levels in shares.items() if level[0] in levels}
        named = {server: share for server, share in at.items() if titles.inline(server) in sentence}
        figures = told(rf"takes {NUMBER} %", sentence)
        assert figures and figures[0] == pytest.approx(100 * max(named.values()), abs=0.51)
        if figures := told(rf"takes {NUMBER} % .*, {NUMBER} % on", sentence):
            assert figures == [
                pytest.approx(100 * edge, abs=0.51) for edge in (max(at.values()), min(at.values()))
            ]
        elif figures := told(rf", {NUMBER} % at {NUMBER}$", sentence):
            (server,) = named
            assert figures[1] == min(shares[server])
            assert figures[0] == pytest.approx(100 * shares[server][min(shares[server])], abs=0.51)


def test_batching_titles_of_known_runs_read_as_designed() -> None:
    two = {"baseline": {10: 0.2, 100: 0.98}, "dynamic_batching": {10: 0.1, 100: 0.45}}
    assert (
        titles.queue(two)
        == "At 100 users the queue takes 98 % of a request's time on the baseline, 45 % on dynamic batching"
    )
    one = {"baseline": two["baseline"]}
    assert (
        titles.queue(one)
        == "The queue takes 98 % of a request's time on the baseline at 100 users, 20 % at 10"
    )
    assert (
        titles.batch_size({"dynamic_batching": {10: 4.2, 100: 23.4}, "optimized": {100: 1}}, "sentiment")
        == "Dynamic batching's sentiment batches hold 23 texts at 100 users, 4.2 at 10"
    )


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


def test_titles_of_known_runs_read_as_designed() -> None:
    flat = {"baseline": {10: 12.0, 50: 12.1, 100: 12.2}}
    assert (
        titles.throughput(flat, "translation")
        == "Baseline stays at 12 translation requests a second from 10 to 100 users"
    )
    best = flat | {"dynamic_batching": {10: 100.0, 50: 250.0, 100: 252.0}}
    assert (
        titles.throughput(best, "translation")
        == "Dynamic batching answers 21x the baseline's translation requests at 100 users"
    )
    slow = {"baseline": {10: 820.0, 100: 8036.0}}
    assert (
        titles.latency(slow, "translation") == "At 100 users the baseline's p50 is 9.8x its p50 at 10 users"
    )
    assert titles.latency({}, "translation") == "Too few valid translation requests for a p50"
    assert (
        titles.distribution({"baseline": 8.0}, {}, 10, "sentiment")
        == "At 10 users half of the baseline's answers come within 8 ms"
    )
    assert titles.timeline("baseline", None, 1, 20.0) == "Baseline answers 1 request in the 20 s measured"
    assert (
        titles.timeline("baseline", (800.0, 1200.0), 99, 20.0)
        == "Baseline's p50 rises from 800 to 1,200 ms over the two halves of the 20 s measured"
    )


def cells_of(page: ElementTree.Element) -> dict[str, dict[str, str]]:
    """The report's rows, by their first cell and then by heading."""
    found = {}
    for table in page.iter("table"):
        headings = ["".join(one.itertext()) for one in table.iterfind("./thead/tr/th")]
        for row in table.iterfind("./tbody/tr"):
            values = ["".join(one.itertext()) for one in row]
            if headings:
                keys = dict(zip(headings, values, strict=True))
                found[values[0] + (f" {keys['users']}" if "users" in keys else "")] = keys
    return found


def test_the_report_prints_the_figures_of_the_files(three: RunFiles, page: ElementTree.Element) -> None:
    rows = cells_of(page)
    columns = {"RPS": "throughput_rps", "p50, ms": "p50_ms", "p95, ms": "p95_ms", "start, s": "cold_start_s"}
    records = three.read_cells()
    for record in records:
        row = rows[Cell(**record["cell"]).name]
        assert row["status"].startswith(record["status"])
        for heading, figure in columns.items():
            value = record["figures"].get(figure)
            if value is None:
                assert row[heading] == "–"
            else:
                assert float(row[heading].replace(",", "")) == pytest.approx(value, abs=0.051)
    repeats = [
        record["figures"]["p50_ms"]
        for record in records
        if (record["cell"]["server"], record["cell"]["users"]) == ("optimized", 100)
    ]
    printed = float(rows["Optimized 100"]["p50, ms"].replace(",", ""))
    assert printed == pytest.approx(np.median(repeats), abs=0.051)
    assert rows["Baseline 100"]["valid cells"] == "1 of 2"
    assert rows["Baseline 100"]["p95, ms"] == "–"


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
