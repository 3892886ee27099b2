"""`python -m benchmark open-loop|overload|head-of-line-blocking`: requests arrive at set rates."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from benchmark.commands import options
from benchmark.commands.draw import draw_experiments
from benchmark.commands.output import console, print_line
from benchmark.commands.session import ServerOptions, Session
from benchmark.experiments import head_of_line_blocking as blocking
from benchmark.experiments.closed_loop_capacity import closed_loop_rps
from benchmark.experiments.open_loop import FOLDER, Offer, measure_rates
from benchmark.experiments.overload import overload_lines
from benchmark.runs.records import SERVERS
from benchmark.stats.formatting import format_ms
from benchmark.stats.open_loop import recovery_line, table

LIMIT_MS = 10_000


@dataclass(frozen=True)
class LoadOptions(ServerOptions):
    """How long a rate is sent, and how the capacity is measured that rates are multiples of."""

    duration: options.Duration = 20.0
    warmup: options.Warmup = 3.0
    capacity_users: options.CapacityUsers = 50
    capacity_duration: options.CapacityDuration = 10.0


@dataclass(frozen=True)
class OpenLoopOptions(LoadOptions):
    """What is sent to a server, with a deadline, and when it must have recovered."""

    task: options.Task = "translation"
    multiples: options.Multiples = ()
    deadline_ms: options.DeadlineMs = 2000
    recover: options.Recover = 60.0

    def measure(self, session: Session, server: str, rates: tuple[float, ...] = ()) -> dict[str, Any]:
        """The record of one server at `rates`, or else at multiples of its capacity."""
        offer = Offer(
            server=server,
            task=self.task,
            rates=rates or tuple(self.multiples),
            multiples=not rates,
            duration_s=self.duration,
            warmup_s=self.warmup,
            deadline_ms=self.deadline_ms,
            recover_s=self.recover,
            probe_users=self.capacity_users,
            probe_s=self.capacity_duration,
            seed=self.seed,
        )
        record = measure_rates(session.target(server, self.task, FOLDER), offer, print_line)
        console.print(table(record))
        return record


@dataclass(frozen=True)
class OverloadOptions(OpenLoopOptions):
    """The same, with the defaults of an overload."""

    task: options.Task = "sentiment"
    multiples: options.Multiples = (0.5, 1.0, 2.0, 4.0)
    deadline_ms: options.DeadlineMs = 1000
    recover: options.Recover = 30.0


def open_loop(
    load: OpenLoopOptions, server: options.Server = "dynamic_batching", rates: options.Rates = ()
) -> None:
    """Send Poisson arrivals at set rates.

    Measures goodput, refusals, latency from the scheduled send, and recovery. Give either --rates or
    --multiples.
    """
    if bool(rates) == bool(load.multiples):
        raise typer.BadParameter("give either --rates or --multiples", param_hint="--rates")
    with load.session("open-loop", load.server_cores) as session:
        print_line(recovery_line(load.measure(session, server, tuple(rates))))
        print_line(session.folder / FOLDER)


def overload(load: OverloadOptions, servers: options.Servers = SERVERS) -> None:
    """Send multiples of each server's capacity.

    Requests have a deadline. Measures goodput, refusals, and recovery.
    """
    with load.session("overload", load.server_cores) as session:
        for server in servers:
            print_line(f"{server}, {load.task}")
            record = load.measure(session, server)
            for line in (*overload_lines(record), recovery_line(record)):
                print_line(line)
        draw_experiments(session.folder)


def head_of_line_blocking(
    load: LoadOptions,
    server: options.Server = "dynamic_batching",
    rate: Annotated[
        float, typer.Option(min=0, help="Requests per second; 0: half of the capacity with long texts.")
    ] = 0.0,
    long_share: Annotated[float, typer.Option(min=0.01, max=0.5, help="Share of long requests.")] = 0.05,
    long_tokens: Annotated[int, typer.Option(min=2, help="Source tokens of a long text, about.")] = 200,
    repeats: options.Repeats = 3,
) -> None:
    """Measure what long texts cost short ones.

    Compares the p95 of short translations at one rate, without and with a share of long texts.
    """
    with load.session("head-of-line-blocking", load.server_cores) as session:
        target = session.target(server, blocking.TASK, blocking.FOLDER)
        with target.with_cache():
            if not rate:
                probe = (load.capacity_users, load.capacity_duration, load.warmup, load.seed)
                long_texts = blocking.texts_in_a_long_one(target, long_tokens)
                rate = closed_loop_rps(target, *probe) / (1 + long_share * (long_texts - 1)) / 2
            mixed = blocking.MixedLoad(
                rate, long_share, long_tokens, repeats, load.duration, load.warmup, LIMIT_MS, load.seed
            )
            figures = blocking.measure_blocking(target, mixed, print_line)["figures"]
        if figures["p95_ratio"] is None:
            print_line("too few requests for a p95; use a longer --duration")
        else:
            print_line(
                f"p95 of short texts at {rate:.1f} requests/s: {format_ms(figures['short_p95_ms'])} without "
                f"long ones, {format_ms(figures['mixed_p95_ms'])} with them, {figures['p95_ratio']:.2f} times"
            )
        print_line(target.record_path)
