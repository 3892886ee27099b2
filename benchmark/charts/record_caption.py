"""The circumstances under which records that belong to no cell were measured, as a caption's last line."""

from collections.abc import Sequence
from typing import Any

from benchmark.charts.caption import commit, machine, model, precision_notes

RANDOM = "random weights"


def circumstances(records: Sequence[dict[str, Any]], *more: str) -> str:
    """Machine, cores, models and their source, `more` (durations, repeats), and commit; each told once."""
    parts = [
        *(machine(record["environment"]) for record in records),
        *(model_told(record["model"]) for record in records),
        *precision_notes(record["model"] for record in records),
        *more,
        *(commit(record["environment"]) for record in records),
    ]
    return " · ".join(dict.fromkeys(part for part in parts if part))


def model_told(artefact: dict[str, Any]) -> str:
    told = model(artefact)
    return f"{told}, {RANDOM}" if artefact.get("trained") is False and RANDOM not in told else told
