"""The small print of a chart: what the marks mean, what is missing, and where it was measured."""

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from benchmark.charts.data import Cells, RunData, Slice, cell_of
from benchmark.charts.titles import inline
from benchmark.measure.configurations import CACHED_SERVERS
from benchmark.stats.formatting import format_figure, format_users
from model_export.instruction_sets import INSTRUCTION_SETS
from model_export.precision import remarks

WORKLOAD_TEXTS = {
    "unique": "unique texts",
    "zipf": "repeated texts (zipf)",
    "paragraph": "unique paragraphs of 3 to 8 sentences",
}


def subtitle(data: RunData, part: Slice, what: str) -> str:
    """What is measured: task, texts and `what`, with the cache's hit rate where one was measured."""
    frame = data.of(part).frame
    # Where no text comes twice, a rate of nothing says nothing.
    hits = frame[frame["cache_hit_rate"] > 0].groupby("server")["cache_hit_rate"]
    rates = "".join(f"; {inline(server)}: {rate.median():.1%} cache hits" for server, rate in hits)
    return f"{part.task.capitalize()}, {texts_of(part)}: {what}{rates}"


def texts_of(part: Slice) -> str:
    """The texts that users send."""
    texts = WORKLOAD_TEXTS.get(part.workload, part.workload)
    return f"{texts}, {part.texts_per_request} texts a request" if part.texts_per_request > 1 else texts


def caption(data: RunData, cells: Cells, notes: Sequence[str]) -> list[str]:
    """The lines below a chart of `cells`: `notes` on the marks, then the measurement's circumstances."""
    marks = ". ".join(note for note in notes if note)
    return [line for line in (marks and f"{marks}.", circumstances(data, cells)) if line]


def circumstances(data: RunData, cells: Cells) -> str:
    """Machine, cores, model and its source, duration, repeats and commit, on one line."""
    environment = data.run.get("environment") or {}
    duration = cells.frame["duration_s"].median()
    if pd.isna(duration):
        duration = (data.run.get("plan") or {}).get("duration_s")
    repeats = cells.repeats
    parts = [
        machine(environment),
        models(data, cells),
        without_cache(data, cells),
        f"{format_figure(duration)} s a cell" if duration is not None else "",
        f"{repeats} repeat{'' if repeats == 1 else 's'}",
        commit(environment),
        str(data.run.get("baseline_note") or ""),
    ]
    return " · ".join(part for part in parts if part)


def machine(environment: dict[str, Any]) -> str:
    """The CPU and how its cores were shared out."""
    cpu = str((environment.get("machine") or {}).get("cpu") or "unknown CPU")
    plain = " ".join(cpu.replace("(R)", "").replace("(TM)", "").split())
    cores = environment.get("cores") or {}
    shares = [f"{role} {cores_text(cores[role])}" for role in ("server", "load") if cores.get(role)]
    unpinned = ["not pinned"] if cores.get("pinned") is False else []
    return ", ".join([plain, *shares, *unpinned])


def cores_text(cores: Sequence[int]) -> str:
    return f"{len(cores)} core{'' if len(cores) == 1 else 's'}"


def models(data: RunData, cells: Cells) -> str:
    """What models `cells` ran and where they come from; says "random weights" of an untrained one."""
    used = used_models(data, cells)
    told = list(dict.fromkeys(model(artefact) for artefact in used))
    source = (data.run.get("models") or {}).get("source") or "unknown"
    random = source == "random" or any(artefact.get("trained") is False for artefact in used)
    said = "random weights" if random else source
    if said not in ", ".join(told):
        told.append(said if random else f"source {source}")
    return ", ".join([*told, *precision_notes(used)])


def used_models(data: RunData, cells: Cells) -> list[dict[str, Any]]:
    """What the manifest says of the models that `cells` ran."""
    records = [data.records[cell_of(row).name] for row in cells.rows()]
    return [record["model"] for record in records if record.get("model")]


def precision_notes(artefacts: Iterable[dict[str, Any]]) -> list[str]:
    """What is not all INT8 of artefacts that servers take for INT8, and whose quality was not checked."""
    notes = (f"{artefact.get('task')}: {one}" for artefact in artefacts for one in remarks(artefact))
    return list(dict.fromkeys(notes))


def without_cache(data: RunData, cells: Cells) -> str:
    """The servers that have a cache and, for want of a Redis, ran without it."""
    used = {row["server"]: data.records[cell_of(row).name].get("configuration") or {} for row in cells.rows()}
    without = [name for name, how in used.items() if name in CACHED_SERVERS and how.get("cached") is False]
    return ", ".join(f"{inline(name)} without a cache" for name in without)


def model(artefact: dict[str, Any]) -> str:
    """One artefact as architecture, size and origin."""
    parameters = artefact.get("parameters")
    size = f"{format_figure(parameters / 1e6)} M parameters" if parameters else ""
    # Layers and widths follow the architecture's name; a caption has no room for them.
    architecture = str(artefact.get("architecture") or "").partition(",")[0]
    named = " ".join(part for part in (architecture, size) if part)
    if artefact.get("fallback"):
        return f"{named}, {origin(artefact)}"
    found = "random weights" if artefact.get("trained") is False else origin(artefact)
    return f"{named} ({found})" if found else named


def kernels(artefact: dict[str, Any]) -> str:
    """What an INT8 artefact's layers run on; nothing of one of before there was a choice, or of PyTorch's."""
    flags = artefact.get("cpu_flags")
    for instructions in INSTRUCTION_SETS:
        if flags == list(instructions.flags):
            return f"kernels for {instructions.title}"
    return "ONNX Runtime's kernels" if artefact.get("kernels") == "onnxruntime" else ""


def origin(artefact: dict[str, Any]) -> str:
    """Where an artefact comes from; a place on somebody's disk is cut to its name."""
    if reason := artefact.get("fallback"):
        return f"embedded models ({reason})"
    told = str(artefact.get("origin") or "")
    return PurePath(told).name if PurePath(told).is_absolute() else told


def commit(environment: dict[str, Any]) -> str:
    found = environment.get("commit")
    if not found:
        return "no commit"
    return f"commit {str(found)[:9]}{' with changes' if environment.get('dirty') else ''}"


def missing(cells: Cells, percentiles: Sequence[str] = (), invalid_as: str = "Cross") -> list[str]:
    """Notes on the cells that a chart of `percentiles` (figures' names) cannot draw as plain points.

    `invalid_as` is how the chart marks an invalid one.
    """
    frame = cells.frame
    failed = frame[frame["status"] == "failed"]
    invalid = frame[frame["status"] == "invalid"]
    rest = frame[frame["status"] != "failed"]
    empty = rest[rest["requests"].fillna(0) == rest["failures"].fillna(0)]
    answered = rest.drop(empty.index)
    thin = [metric.removesuffix("_ms") for metric in percentiles if answered[metric].isna().any()]
    failures = int(frame["failures"].fillna(0).sum())
    return [
        f"Hollow: too few requests for a {' or '.join(thin)}" if thin else "",
        f"{invalid_as}: {count(invalid, 'invalid')} ({reasons(invalid)})" if len(invalid) else "",
        f"Not drawn: {count(failed, 'failed')}, {where(failed)} ({reasons(failed)})" if len(failed) else "",
        f"Without an answer: {count(empty, '')}, {where(empty)}" if len(empty) else "",
        f"{failures:,} request{'' if failures == 1 else 's'} failed" if failures else "",
    ]


def count(frame: pd.DataFrame, kind: str) -> str:
    return " ".join([str(len(frame)), *kind.split(), "cell" if len(frame) == 1 else "cells"])


def where(frame: pd.DataFrame) -> str:
    """The servers and users of the cells in `frame`."""
    places = frame.drop_duplicates(["server", "users"])
    return ", ".join(
        f"{inline(row['server'])} at {format_users(int(row['users']))}" for _, row in places.iterrows()
    )


def reasons(frame: pd.DataFrame) -> str:
    """The distinct reasons of the cells in `frame`, the first of each cell."""
    told = dict.fromkeys(row[0] for row in frame["invalid_reasons"] if row)
    return "; ".join(told) or "no reason recorded"
