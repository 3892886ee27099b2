"""Rows as a Markdown table."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[\d,.]+x?( \(.*\))?|–|\(too few\)")


def table(rows: Sequence[dict[str, str]]) -> str:
    """`rows` by heading, at least one; columns of nothing but numbers stand to the right."""
    headings = list(rows[0])
    right = [all(_NUMBER.fullmatch(row[heading]) for row in rows) for heading in headings]
    lines = [headings, ["---:" if one else "---" for one in right], *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
