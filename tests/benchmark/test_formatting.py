"""Tables of figures as text."""

from rendering import as_text

from benchmark.stats.formatting import ABSENT, rich_table


def test_a_table_aligns_numbers_right_and_prints_brackets_as_they_are() -> None:
    rows = [
        {"name": "a", "p95 ms": "1,200", "status": "failed: [red] wire", "none": ""},
        {"name": "bcd", "p95 ms": ABSENT, "status": "ok", "none": ""},
    ]
    table = rich_table(rows, "title")
    assert [column.justify for column in table.columns] == ["left", "right", "left", "left"]
    assert "failed: [red] wire" in as_text(table)
    assert not rich_table([]).columns
