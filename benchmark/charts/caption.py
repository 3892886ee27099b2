"""The small print of a chart: what the marks mean, what is missing, and where it was measured."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from benchmark.charts.data import Cells, RunData, Slice
from benchmark.charts.sheet import Sheet
from benchmark.charts.titles import inline
from benchmark.measure.configurations import CACHED_SERVERS
from benchmark.stats.formatting import format_count, format_figure, format_users
from model_export.instruction_sets import INSTRUCTION_SETS
from model_export.precision import remarks

WORKLOAD_TEXTS = {
    "unique": "unique texts",
    "zipf": "repeated texts (zipf)",
    "paragraph": "unique paragraphs of 3 to 8 sentences",
}
RANDOM = "random weights"


def slice_sheet(
    data: RunData, part: Slice, cells: Cells, title: str, what: str, notes: Sequence[str]
) -> Sheet:
    """The sheet of a chart that shows `what` of `cells`, which are of one slice."""
    frame = data.of(part).frame
    # Unique texts have no cache hits to report.
    hits = frame[frame["cache_hit_rate"] > 0].groupby("server")["cache_hit_rate"].median()
    rates = "".join(f"; {inline(str(server))}: {rate:.1%} cache hits" for server, rate in hits.items())
    subtitle = f"{part.task.capitalize()}, {texts_of(part)}: {what}{rates}"
    return Sheet(title, subtitle, caption(data, cells, notes))


def texts_of(part: Slice) -> str:
    """The texts that users send."""
    texts = WORKLOAD_TEXTS.get(part.workload, part.workload)
    return f"{texts}, {part.texts_per_request} texts a request" if part.texts_per_request > 1 else texts


def caption(data: RunData, cells: Cells, notes: Sequence[str]) -> list[str]:
    """The lines below a chart of `cells`: `notes` on the marks, then the measurement's circumstances."""
    marks = textwrap.shorten(". ".join(filter(None, notes)), 340, placeholder=" …")
    return [line for line in (marks and f"{marks}.", circumstances(data, cells)) if line]


def dots_note(cells: Cells, mark: str = "line") -> str:
    return f"Dot: one repeat; {mark}: their median" if cells.repeats > 1 else ""


def circumstances(data: RunData, cells: Cells) -> str:
    """Machine, cores, model and its source, duration, repeats and commit, on one line."""
    environment = data.run.get("environment") or {}
    duration_s = cells.frame["duration_s"].median()
    return joined(
        machine(environment),
        models(data, cells),
        without_cache(data, cells),
        f"{format_figure(duration_s)} s a cell" if pd.notna(duration_s) else "",
        format_count(cells.repeats, "repeat"),
        commit(environment),
        str(data.run.get("baseline_note") or ""),
    )


def circumstances_of_records(records: Sequence[dict[str, Any]], *more: str) -> str:
    """The same of records that belong to no cell; `more` are durations and repeats."""
    artefacts = [record["model"] for record in records]
    return joined(
        *(machine(record["environment"]) for record in records),
        *map(model, artefacts),
        *precision_notes(artefacts),
        *more,
        *(commit(record["environment"]) for record in records),
    )


def joined(*parts: str) -> str:
    return " · ".join(dict.fromkeys(filter(None, parts)))


def machine(environment: dict[str, Any]) -> str:
    """The CPU and how its cores were shared out."""
    cpu = str((environment.get("machine") or {}).get("cpu") or "unknown CPU")
    cores = environment.get("cores") or {}
    parts = [" ".join(cpu.replace("(R)", "").replace("(TM)", "").split())]
    shares = {role: len(cores[role]) for role in ("server", "load") if cores.get(role)}
    parts += [f"{role} {format_count(share, 'core')}" for role, share in shares.items()]
    return ", ".join(parts + ["not pinned"] * (cores.get("pinned") is False))


def models(data: RunData, cells: Cells) -> str:
    """What models `cells` ran and where they come from; says "random weights" of an untrained one."""
    used = used_models(data, cells)
    names = list(dict.fromkeys(map(model, used)))
    source = (data.run.get("models") or {}).get("source") or "unknown"
    random = source == "random" or any(artefact.get("trained") is False for artefact in used)
    if (RANDOM if random else source) not in ", ".join(names):
        names.append(RANDOM if random else f"source {source}")
    return ", ".join([*names, *precision_notes(used)])


def used_models(data: RunData, cells: Cells) -> list[dict[str, Any]]:
    """What the manifest says of the models that `cells` ran."""
    return [record["model"] for record in data.records_of(cells) if record.get("model")]


def precision_notes(artefacts: Iterable[dict[str, Any]]) -> list[str]:
    """What is not all INT8 of artefacts that servers take for INT8, and whose quality was not checked."""
    notes = (f"{artefact.get('task')}: {one}" for artefact in artefacts for one in remarks(artefact))
    return list(dict.fromkeys(notes))


def without_cache(data: RunData, cells: Cells) -> str:
    """The servers that have a cache and, for want of a Redis, ran without it."""
    servers = dict.fromkeys(
        record["cell"]["server"]
        for record in data.records_of(cells)
        if (record.get("configuration") or {}).get("cached") is False
    )
    return ", ".join(f"{inline(server)} without a cache" for server in servers if server in CACHED_SERVERS)


def model(artefact: dict[str, Any]) -> str:
    """One artefact as architecture, size and origin."""
    parameters = artefact.get("parameters")
    size = f"{format_figure(parameters / 1e6)} M parameters" if parameters else ""
    # Layers and widths follow the architecture's name; a caption has no room for them.
    architecture = str(artefact.get("architecture") or "").partition(",")[0]
    name = " ".join(filter(None, (architecture, size)))
    if artefact.get("fallback"):
        return f"{name}, {origin(artefact)}"
    source = RANDOM if artefact.get("trained") is False else origin(artefact)
    return f"{name} ({source})" if source else name


def kernels(artefact: dict[str, Any]) -> str:
    """What an INT8 artefact's layers run on; nothing of one of before there was a choice, or of PyTorch's."""
    for instructions in INSTRUCTION_SETS:
        if artefact.get("cpu_flags") == list(instructions.flags):
            return f"kernels for {instructions.title}"
    return "ONNX Runtime's kernels" if artefact.get("kernels") == "onnxruntime" else ""


def origin(artefact: dict[str, Any]) -> str:
    """Where an artefact comes from; a place on somebody's disk is cut to its name."""
    if reason := artefact.get("fallback"):
        return f"embedded models ({reason})"
    place = str(artefact.get("origin") or "")
    return PurePath(place).name if PurePath(place).is_absolute() else place


def commit(environment: dict[str, Any]) -> str:
    if not environment.get("commit"):
        return "no commit"
    return f"commit {environment['commit'][:9]}{' with changes' if environment.get('dirty') else ''}"


def missing(cells: Cells, percentiles: Sequence[str] = (), invalid_as: str = "Cross") -> list[str]:
    """Notes on the cells that a chart of `percentiles` (figures' names) cannot draw as plain points.

    `invalid_as` is how the chart marks an invalid one.
    """
    frame = cells.frame
    failed, invalid = (frame[frame["status"] == status] for status in ("failed", "invalid"))
    rest = frame[frame["status"] != "failed"]
    empty = rest[rest["requests"].fillna(0) == rest["failures"].fillna(0)]
    answered = rest.drop(empty.index)
    thin = [metric.removesuffix("_ms") for metric in percentiles if answered[metric].isna().any()]
    failures = int(frame["failures"].sum())
    hollow = "Hollow" if cells.has_requests() else "Not drawn"
    return [
        f"{hollow}: too few requests for a {' or '.join(thin)}" if thin else "",
        counted(invalid_as, invalid, "invalid cell", f" ({reasons(invalid)})"),
        counted("Not drawn", failed, "failed cell", f", {where(failed)} ({reasons(failed)})"),
        counted("Without an answer", empty, "cell", f", {where(empty)}"),
        f"{format_count(failures, 'request')} failed" if failures else "",
    ]


def counted(mark: str, frame: pd.DataFrame, noun: str, more: str) -> str:
    return f"{mark}: {format_count(len(frame), noun)}{more}" if len(frame) else ""


def where(frame: pd.DataFrame) -> str:
    """The servers and users of the cells in `frame`."""
    places = frame[["server", "users"]].drop_duplicates().itertuples(index=False)
    return ", ".join(f"{inline(server)} at {format_users(users)}" for server, users in places)


def reasons(frame: pd.DataFrame) -> str:
    """The distinct reasons of the cells in `frame`, the first of each cell."""
    first = (reasons[0] for reasons in frame["invalid_reasons"].dropna() if reasons)
    return "; ".join(dict.fromkeys(first)) or "no reason recorded"
