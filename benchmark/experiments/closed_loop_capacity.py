"""What a server does in a closed loop: the measure of the rates that an open loop then offers it."""

from benchmark.measure.load import LOAD_GRACE_S
from benchmark.measure.processes import ProcessFailed
from benchmark.measure.runner import Runner
from benchmark.measure.target import Target
from benchmark.runs.plan import Plan
from benchmark.runs.records import RunFiles


def closed_loop_rps(target: Target, users: int, duration_s: float, warmup_s: float, seed: int) -> float:
    """Requests a second that `users` get answered, measured over `duration_s`.

    Raises:
        ProcessFailed: a process failed, or the closed loop was not valid: a multiple of its figure would mean
            nothing.
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
    files = RunFiles(target.folder / f"{target.name}-probe")
    (cell,) = plan.cells()
    (files.cells_folder / f"{cell.name}.json").unlink(missing_ok=True)
    Runner(plan, files, target.models_dir, target.manifest, target.cores, port=0).run()
    (record,) = files.read_cells()
    capacity_rps: float = record["figures"]["throughput_rps"]
    if capacity_rps == 0 or record["errors"]:
        raise ProcessFailed(f"no capacity was measured: {'; '.join(record['invalid_reasons'])}")
    return capacity_rps
