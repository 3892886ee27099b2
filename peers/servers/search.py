"""The settings with which a peer serves most requests, found by successive halving."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmark.measure.closed_loop import measure_closed_loop
from benchmark.measure.processes import ProcessFailed
from benchmark.measure.target import Target
from benchmark.runs.plan import Plan
from peers.halving import successive_halving
from peers.servers.configuration import PeerConfiguration

ROUNDS_PER_STAGE = 2


def search_settings(
    target: Target,
    configuration: PeerConfiguration,
    users: int,
    duration_s: float,
    print_line: Callable[[str], None],
) -> tuple[PeerConfiguration, list[dict[str, Any]]]:
    """The configuration with the fastest of its system's candidates, and the passes of every candidate.

    Each pass is a closed loop of `users` on a fresh server.

    Raises:
        ProcessFailed: a server or the load generator failed, or a request did.
    """
    task = configuration.task
    candidates = [
        replace(configuration, peer_settings=settings) for settings in configuration.system.candidates[task]
    ]
    plan = Plan((configuration.server,), (task,), (("unique", 1),), (users,), 1, duration_s, 1.0, 60.0)
    (cell,) = plan.cells()

    def measure(index: int) -> dict[str, Any]:
        tried = replace(target, configuration=candidates[index])
        with tried.serving(cell.name) as server:
            measured = measure_closed_loop(tried, server, plan, cell)
        if measured.errors:
            raise ProcessFailed(
                f"{configuration.server}: {next(iter(measured.errors))} while settings are tried"
            )
        # Little's law: a server that answers in whole batches has few of them in a short window, and a count
        # of its answers would depend on where the window begins.
        mean_ms = measured.figures["mean_ms"]
        if mean_ms is None:
            raise ProcessFailed(
                f"{configuration.server}: no answer in {duration_s:g} s while settings are tried"
            )
        return {"throughput_rps": users * 1e3 / mean_ms, "mean_ms": mean_ms}

    best, passes = successive_halving(
        len(candidates),
        measure,
        lambda line: print_line(f"{configuration.server}, {task}: {line}"),
        figure="throughput_rps",
        unit="requests/s",
        rounds_per_stage=ROUNDS_PER_STAGE,
    )
    searched = [
        {"settings": one.peer_settings, "rounds": rounds}
        for one, rounds in zip(candidates, passes, strict=True)
    ]
    return candidates[best], searched
