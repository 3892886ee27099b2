"""A run's result as a JSON record and a table."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import pandas as pd
from rich.table import Column, Table

from chaos.assertions import RESPONSE_ASSERTIONS
from chaos.run import Run

EXAMPLES_PER_ASSERTION = 5


def make_record(run: Run) -> dict[str, Any]:
    """All figures of a run, for a JSON file."""
    outcomes: dict[str, Counter[str]] = {}
    for outcome in run.outcomes:
        label = f"status {outcome.response.status}" if outcome.response else outcome.reason
        outcomes.setdefault(outcome.request.kind, Counter())[label] += 1
    violations: dict[str, list[str]] = {assertion: [] for assertion in RESPONSE_ASSERTIONS}
    for assertion, detail in run.violations:
        violations.setdefault(assertion, []).append(detail)
    return {
        "plan": {**asdict(run.plan), "mix": asdict(run.plan.mix), "texts": run.plan.text_counts},
        "passed": not run.violations,
        "summary": {
            "result": "FAILED" if run.violations else "passed",
            "requests": len(run.outcomes),
            **run.figures,
            "outcome": dict(sum(outcomes.values(), Counter[str]())),
            "violation": {assertion: len(details) for assertion, details in violations.items()},
        },
        "outcomes_by_kind": {kind: dict(counts.most_common()) for kind, counts in sorted(outcomes.items())},
        "first_violations": [
            f"{assertion}: {detail}"
            for assertion, details in violations.items()
            for detail in details[:EXAMPLES_PER_ASSERTION]
        ],
    }


def make_table(records: list[dict[str, Any]]) -> Table:
    """A column per server, a row per figure."""
    servers = [Column(record["plan"]["server"], justify="right") for record in records]
    table = Table("", *servers, title="Chaos test")
    summaries = pd.json_normalize([record["summary"] for record in records], sep=": ")
    for name, cells in sorted(summaries.astype(object).fillna(0).items()):
        table.add_row(str(name), *(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells))
    return table
