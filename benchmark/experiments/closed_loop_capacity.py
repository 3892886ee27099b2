"""The closed-loop capacity of a server: what the rates of an open loop are multiples of."""

from benchmark.measure.closed_loop import measure_closed_loop
from benchmark.measure.configurations import CLOSED_LOOP_SETTINGS
from benchmark.measure.load import LOAD_GRACE_S
from benchmark.measure.processes import ProcessFailed
from benchmark.measure.target import Target
from benchmark.measure.validity import invalid_reasons
from benchmark.runs.plan import Plan


def closed_loop_rps(target: Target, users: int, duration_s: float, warmup_s: float, seed: int) -> float:
    """Requests a second that `users` get answered, measured over `duration_s` on a fresh server.

    Raises:
        ProcessFailed: a process failed, or a request did: a multiple of such a figure would mean nothing.
    """
    plan = Plan(
        servers=(target.server,),
        tasks=(target.task,),
        workloads=(("unique", 1),),
        users=(users,),
        repeats=1,
        duration_s=duration_s,
        warmup_s=warmup_s,
        settle_s=LOAD_GRACE_S,
        seed=seed,
    )
    (cell,) = plan.cells()
    with target.serving(cell.name, **CLOSED_LOOP_SETTINGS) as server:
        target.check_answers(server, seed)
        measured = measure_closed_loop(target, server, plan, cell)
    rps: float = measured.figures["throughput_rps"]
    if rps == 0 or measured.errors:
        reasons = invalid_reasons(measured, target.cores.apart, plan.settle_s)
        raise ProcessFailed(f"no capacity was measured: {'; '.join(reasons)}")
    return rps
