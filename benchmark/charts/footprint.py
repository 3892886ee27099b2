"""What a server costs before its first request: cold start, model files, memory. One chart a run."""

import pandas as pd

from benchmark.charts import titles
from benchmark.charts.bars import bar_panels, draw_bar
from benchmark.charts.caption import caption
from benchmark.charts.data import Cells, RunData
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import INK, REPEAT
from benchmark.stats.formatting import format_count

MB = 1e6


def footprint(data: RunData) -> Sheet:
    cells, figures = started(data), measured(data)
    ready_s, model_files_mb, memory_mb, peak_mb = figures.values()
    failed = len(data.frame) - len(cells.frame)
    notes = [
        f"Dots: each of {len(cells.frame)} starts; bars: their median (light bar: the highest peak)",
        f"{format_count(failed, 'failed cell')} left out" if failed else "",
    ]
    sheet = Sheet(
        titles.footprint(ready_s, peak_mb),
        "Start to ready, model files of the tasks, and resident memory; light: peak under load",
        caption(data, data, notes),
    )
    panels = bar_panels(sheet, data.servers, ["cold start, s", "model files, MB", "memory, MB"])
    bars = [
        {"s to ready": ready_s},
        {"MB of model files": model_files_mb},
        {"MB at ready": memory_mb, "MB highest peak": peak_mb},
    ]
    for row, server in enumerate(data.servers):
        starts_s = cells.where(server=server).frame["cold_start_s"]
        panels[0].plot(starts_s, [row] * len(starts_s), color=INK, **REPEAT)
        for ax, units in zip(panels, bars, strict=True):
            draw_bar(sheet, ax, row, server, {unit: by[server] for unit, by in units.items() if server in by})
    for ax in panels:
        ax.set_xlim(left=0)
    return sheet


def started(data: RunData) -> Cells:
    """The cells whose server came up: no load has run yet, so a saturated generator spoils nothing here."""
    return Cells(data.files, data.frame[data.frame["status"] != "failed"])


def measured(data: RunData) -> dict[str, dict[str, float]]:
    """Each figure by server; the keys name it and its unit."""
    cells = started(data)
    return {
        "cold start, s": by_server(cells, "cold_start_s", "median"),
        "model files, MB": model_mb(data),
        "memory at ready, MB": by_server(cells, "rss_ready_bytes", "median", MB),
        "highest peak, MB": by_server(cells, "rss_peak_bytes", "max", MB),
    }


def by_server(cells: Cells, metric: str, how: str, unit: float = 1) -> dict[str, float]:
    """`metric` of each server over all its cells, summed up by `how` ("median", "max"), in `unit`."""
    known = cells.with_figure(metric).frame.groupby("server")[metric].agg(how) / unit
    return {server: float(known[server]) for server in cells.servers if server in known}


def model_mb(data: RunData) -> dict[str, float]:
    """The bytes in MB of the distinct artefacts that each server's cells name."""
    artefacts = {
        (record["cell"]["server"], artefact.get("task"), artefact.get("format")): artefact["bytes"] / MB
        for record in data.records.values()
        if (artefact := record.get("model") or {}).get("bytes")
    }
    return pd.Series(artefacts, dtype=float).groupby(level=0).sum().to_dict()
