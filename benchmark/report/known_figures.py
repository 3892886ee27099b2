"""Tables of figures that people know from elsewhere, as they are quoted, beside those measured here."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark.charts import titles
from benchmark.charts.data import RunData
from benchmark.charts.footprint import model_mb
from benchmark.charts.headline import USERS
from benchmark.report.markdown import table
from benchmark.report.reference_runs import figure
from benchmark.runs.records import SERVERS, read_json
from benchmark.stats.formatting import format_figure

QUOTED = Path(__file__).with_suffix(".json")
ABSENT, TOO_FEW = "(not measured)", "(too few requests)"


def known_figures(runs: Sequence[RunData]) -> str:
    """Both tables as Markdown; `runs` of one source, the first that has a cell is asked."""
    quoted, told = read_json(QUOTED), Told(runs)
    source = runs[0].run["models"]["source"]
    models = "random weights in the architecture of the hub models" if source == "random" else source
    parts = [
        f"**{quoted['sentiment']['title']}** (requests/s, p50, slowest)",
        table(list(sentiment_rows(quoted["sentiment"], told))),
        f"**{quoted['translation']['title']}**",
        table(list(translation_rows(quoted["translation"]["quoted"], told))),
        "Quoted figures are of other machines and stand as their projects print them. Measured here: "
        f"{models}; runs {', '.join(f'`{one}`' for one in told.names)}; medians over repeats.",
    ]
    return "\n\n".join(parts)


class Told:
    """Figures as text; remembers which runs were asked."""

    def __init__(self, runs: Sequence[RunData]) -> None:
        self.runs = runs
        self.names: list[str] = []

    def __call__(
        self,
        metric: str,
        server: str,
        task: str,
        users: int = USERS,
        workload: str = "unique",
        unit: str = "",
    ) -> str:
        found = figure(self.runs, metric, server, task, workload, users)
        if found is None:
            return ABSENT
        value, run = found
        if run.files.folder.name not in self.names:
            self.names.append(run.files.folder.name)
        return TOO_FEW if value is None else f"{format_figure(value)}{unit}"


def sentiment_rows(quoted: dict[str, Any], told: Told) -> Iterator[dict[str, str]]:
    for row in quoted["rows"]:
        users = row["users"]
        yield {
            "users": str(users),
            quoted[
                "quoted_as"
            ]: f"{row['requests_s']} RPS, {row['p50_ms']} ms, {row['max_ms']} ms: {row['state']}",
            **{
                heading(server): ", ".join(
                    [
                        told("throughput_rps", server, "sentiment", users, unit=" RPS"),
                        told("p50_ms", server, "sentiment", users, unit=" ms"),
                        told("max_ms", server, "sentiment", users, unit=" ms"),
                    ]
                )
                for server in SERVERS
            },
        }


def translation_rows(quoted: dict[str, list[str]], told: Told) -> Iterator[dict[str, str]]:
    def row(name: str, key: str, measured: dict[str, str]) -> dict[str, str]:
        before, after = quoted[key]
        return {"": name, "quoted: baseline": before, "quoted: optimized": after, **measured}

    def each(metric: str, unit: str, users: int = USERS) -> dict[str, str]:
        return {heading(one): told(metric, one, "translation", users, unit=unit) for one in SERVERS}

    yield row("model files", "model_mb", {heading(server): model_size(told, server) for server in SERVERS})
    yield row("cold start", "cold_start_s", each("cold_start_s", " s"))
    yield row("p95 (ours: 1 user)", "p95_ms", each("p95_ms", " ms", users=1))
    before, after = quoted["requests_s"]
    yield {
        "": f"requests a second (ours: {USERS} users, unique texts)",
        "quoted: baseline": before,
        "quoted: optimized": "",
        **each("throughput_rps", " RPS"),
    }
    yield {
        "": f"the same with cache hits (ours: {USERS} users, repeated texts)",
        "quoted: baseline": "",
        "quoted: optimized": after,
        **{heading(server): repeated(told, server) for server in SERVERS},
    }


def repeated(told: Told, server: str) -> str:
    """Requests a second over texts that come again; never without the share that a cache answered."""
    rate = told("throughput_rps", server, "translation", workload="zipf", unit=" RPS")
    found = figure(told.runs, "cache_hit_rate", server, "translation", "zipf", USERS)
    hits = found[0] if found else None
    return rate if rate == ABSENT else f"{rate}, {f'{hits:.0%} hits' if hits else 'no cache'}"


def model_size(told: Told, server: str) -> str:
    """The bytes of the artefact that translates, in the first run that has the server."""
    for run in told.runs:
        own = model_mb(run, "translation")
        if server in own:
            return f"{format_figure(own[server])} MB"
    return ABSENT


def heading(server: str) -> str:
    return titles.name(server).lower()
