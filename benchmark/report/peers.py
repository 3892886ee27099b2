"""Other engines and serving systems beside ours: the tables of engines.json and servers.json."""

from collections.abc import Iterator
from math import ceil
from typing import Any

from benchmark.report.markdown import TOO_FEW, table
from benchmark.report.reference import Reference, circumstances
from benchmark.runs.records import TASKS
from benchmark.stats.formatting import ABSENT, SPEED_UNITS, format_count, format_figure, format_users

MB = 1e6
# Of the capacity: the rest is for bursts, and for a replica that restarts.
UTILIZATION = 0.7
DEPLOYMENTS = {
    "one_core": "one core",
    "all_cores": "all cores, one shared with the load",
    "ray_serve": "Ray Serve, its replica on one core, its proxy on the load's",
}


def engines(reference: Reference, run: str, task: str, lengths: str, *more: str) -> str:
    """A task in process by each engine, on texts of mixed or of equal lengths; `more` are columns."""
    for path, record in reference.records(run, "engines.json").items():
        if task not in record["tasks"]:
            continue
        model, workloads = record["tasks"][task]["model"], record["tasks"][task]["workloads"]
        workload = workloads[lengths]
        rows = [
            {
                **engine_row(task, engine, workload["ratios"].get(name)),
                **{f"fastest {key}": format_settings(engine) for key in more},
            }
            for name, engine in workload["engines"].items()
        ]
        errors = {"version": "failed", SPEED_UNITS[task]: ABSENT, "our speed-up": ABSENT}
        rows += [{"engine": name, **errors} for name in workload.get("errors", {})]
        rounds = format_count(len(workload["engines"]["ours"]["rounds"]), "round")
        tokens = f"{workload['source_tokens_min']} to {workload['source_tokens_max']} tokens"
        context = circumstances(record["environment"], [model], f"{rounds} in turns")
        return (
            f"{table(rows)}\n\n{workload['texts']:,} texts of {lengths} lengths ({tokens}); {context}. "
            f"Brackets: smallest and largest of the rounds. All settings tried: {reference.link(path)}."
        )
    return ""


def engines_by_cpu(reference: Reference, *runs: str) -> str:
    """Our speed over the best other engine of each workload: a row a run."""
    rows = []
    for run in runs:
        for path, record in reference.records(run, "engines.json").items():
            tasks = record["tasks"]
            models = [task["model"] for task in tasks.values()]
            rows.append(
                {
                    **{
                        f"{task}, {lengths} lengths": over_best_engine(tasks, task, lengths)
                        for task in TASKS
                        for lengths in ("mixed", "equal")
                    },
                    "measured on": circumstances(record["environment"], models),
                    "record": reference.link(path),
                }
            )
    return table(rows)


def over_best_engine(tasks: dict[str, Any], task: str, lengths: str) -> str:
    if task not in tasks:
        return ABSENT
    workload = tasks[task]["workloads"][lengths]
    name, ratio = min(workload["ratios"].items(), key=lambda item: item[1]["median"])
    return f"{speed_up(ratio)} {workload['engines'][name]['title']}"


def speed_up(ratio: dict[str, float]) -> str:
    return factor(ratio["median"], {"ratio_low": ratio["min"], "ratio_high": ratio["max"]})


def engine_row(task: str, engine: dict[str, Any], ratio: dict[str, float] | None) -> dict[str, str]:
    return {
        "engine": engine["title"],
        "version": engine["version"],
        SPEED_UNITS[task]: format_figure(engine["tokens_per_s"]),
        "our speed-up": speed_up(ratio) if ratio else ABSENT,
    }


def format_settings(engine: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in engine["settings"].items())
    return f"{settings} (best of {len(engine['searched'])})"


def servers(reference: Reference, run: str, task: str, users: str) -> str:
    """A task by each serving system at a number of users."""
    for path, record in reference.records(run, "servers.json").items():
        content, plan = record["tasks"][task], record["plan"]
        repeats = format_count(plan["repeats"], "round")
        context = circumstances(record["environment"], [content["model"]], f"{repeats} in turns")
        rows = table(server_rows(content, int(users)))
        return (
            f"{rows}\n\n{format_users(int(users))}, unique texts; {context}. "
            f"Brackets: 95 % interval. All cells and settings: {reference.link(path)}."
        )
    return ""


def server_settings(reference: Reference, run: str, task: str) -> str:
    """How each serving system was run."""
    for record in reference.records(run, "servers.json").values():
        return table(setting_rows(record["tasks"][task]))
    return ""


def deployments(reference: Reference, run: str, task: str) -> str:
    """One server on one core, on all, and behind Ray Serve."""
    for path, record in reference.records(run, "deployments.json").items():
        content, plan = record["tasks"][task], record["plan"]
        repeats = format_count(plan["repeats"], "round")
        context = circumstances(record["environment"], [content["model"]], f"{repeats} in turns")
        users = format_users(content["deployments"][0]["users"])
        return (
            f"{table(deployment_rows(content))}\n\n{users}, unique texts; {context}. "
            f"Brackets: 95 % interval. {in_process(content['in_process'])}The event loop takes "
            f"{content['event_loop_ms']:.2f} ms of CPU a request. All figures: {reference.link(path)}."
        )
    return ""


def sizing(reference: Reference, run: str, peers_run: str, task: str, rate: str) -> str:
    """How many cores a rate takes by the capacity of one: a worked example."""
    measured = [*reference.records(run, "deployments.json").values()]
    compared = [*reference.records(peers_run, "servers.json").values()]
    if not measured or not compared:
        return ""
    tokens = measured[0]["tasks"][task]["tokens_a_text"]
    capacity_rps = compared[0]["tasks"][task]["servers"][0]["capacity_rps"]
    cores = float(rate) / (capacity_rps * UTILIZATION)
    return (
        f"{task.capitalize()} with texts of {tokens:.1f} tokens, as the load's are: a core holds "
        f"{format_figure(capacity_rps)} requests/s ([systems.md](systems.md)). So {rate} "
        f"requests/s take `{rate} / ({format_figure(capacity_rps)} x {UTILIZATION})` = {cores:.1f}, that is "
        f"{ceil(round(cores, 6))} cores; texts twice as long take twice as many."
    )


def in_process(scaling: dict[str, Any] | None) -> str:
    """What all cores do without HTTP; nothing where there is one."""
    if scaling is None:
        return ""
    cores, over_one = scaling["cores"], factor(scaling["ratio"], scaling)
    return f"In one process without HTTP {cores} cores do {over_one} the texts of one. "


def deployment_rows(task: dict[str, Any]) -> Iterator[dict[str, str]]:
    """A row a deployment; CPU in cores, so that what a second core adds can be told from what it had."""
    for row in task["deployments"]:
        server_cores = row["server_cpu_percent"] / 100
        first = row["name"] == task["deployments"][0]["name"]
        yield {
            "deployment": DEPLOYMENTS[row["name"]],
            "requests/s": format_figure(row["throughput_rps"]),
            "over one core": ABSENT if first else factor(row["ratio"], row),
            "p95, ms": format_figure(row["p95_ms"], TOO_FEW["p95, ms"]),
            "server CPU, cores": format_figure(server_cores),
            "requests/s a core used": format_figure(row["throughput_rps"] / server_cores),
            "load CPU, cores": format_figure(row["load_cpu_percent"] / 100),
            "memory, MB": format_figure(row["rss_peak_bytes"] / MB),
            "cold start, s": format_figure(row["cold_start_s"]),
        }


def server_rows(task: dict[str, Any], users: int) -> Iterator[dict[str, str]]:
    """A row a server: its speed at this number of users, and what a server costs."""
    ours, *others = task["servers"]

    def rate(server: dict[str, Any]) -> float:
        return server["levels"].get(str(users), {}).get("throughput_rps") or 0.0

    for server in (ours, *sorted(others, key=rate, reverse=True)):
        level = server["levels"].get(str(users), {})
        memory = server["memory_bytes"]
        yield {
            "server": server["title"],
            "requests/s": format_figure(level.get("throughput_rps")),
            "ours is": our_factor(level, rate(ours)),
            "p95, ms": format_figure(level.get("p95_ms"), TOO_FEW["p95, ms"] if level else ABSENT),
            "capacity, requests/s": format_figure(server["capacity_rps"]),
            "cold start, s": format_figure(server["cold_start_s"]),
            "memory, MB": format_figure(memory and memory / MB),
            "lines of code": format_figure(server["lines_of_code"]),
        }


def our_factor(level: dict[str, Any], ours_rps: float) -> str:
    """The ratio of the medians, as on the chart, with the 95 % interval of the rounds' own ratios."""
    if level.get("ratio") is None:
        return ABSENT
    return factor(ours_rps / level["throughput_rps"], level)


def factor(value: float, figures: dict[str, Any]) -> str:
    """A factor with the interval of its rounds, where there is one."""
    low, high = figures["ratio_low"], figures["ratio_high"]
    return f"{value:.2f}x" if low is None else f"{value:.2f}x ({low:.2f}x to {high:.2f}x)"


def setting_rows(task: dict[str, Any]) -> Iterator[dict[str, str]]:
    """A row a peer: its versions, its fastest settings, and whether it answers as its engine does alone."""
    failed = any(server["error"] for server in task["servers"])
    for server in task["servers"][1:]:
        settings = ", ".join(f"{name} {value:g}" for name, value in server["settings"].items())
        same = server["same_answers"]
        yield {
            "server": server["title"],
            "versions": ", ".join(f"{name} {version}" for name, version in server["versions"].items())
            or ABSENT,
            "fastest settings": f"{settings or ABSENT} (best of {server['settings_tried']})",
            "same answers as its engine alone": ABSENT if same is None else f"{same:.0%}",
            **({"error": server["error"] or ABSENT} if failed else {}),
        }
