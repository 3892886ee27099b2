"""`python -m benchmark open-loop|head-of-line-blocking`: requests arrive at set rates."""

from dataclasses import dataclass
from typing import Annotated

import typer

from benchmark.commands import options
from benchmark.commands.draw import draw_experiments
from benchmark.commands.output import console, print_line
from benchmark.commands.session import ServerOptions
from benchmark.experiments import head_of_line_blocking as blocking
from benchmark.experiments.closed_loop_capacity import closed_loop_rps
from benchmark.experiments.open_loop import FOLDER, Offer, measure_rates
from benchmark.experiments.overload import overload_lines
from benchmark.measure.target import Offered, Target
from benchmark.runs.records import SERVERS
from benchmark.stats.formatting import format_ms, rich_table
from benchmark.stats.open_loop import rate_row, rates_note, recovery_line

LIMIT_MS = 10_000


@dataclass(frozen=True, kw_only=True)
class RateOptions(ServerOptions):
    """How long a rate is sent, and how the capacity is measured that rates are multiples of."""

    duration: options.Duration = 20.0
    warmup: options.Warmup = 3.0
    capacity_users: options.CapacityUsers = 50
    capacity_duration: options.CapacityDuration = 10.0


@dataclass(frozen=True, kw_only=True)
class OpenLoop(RateOptions):
    """Send multiples of each server's capacity.

    Arrivals are Poisson, and requests have a deadline. Measures goodput, refusals, latency from the scheduled
    send, and recovery.
    """

    servers: options.Servers = SERVERS
    task: options.Task = "sentiment"
    multiples: options.Multiples = (0.5, 1.0, 2.0, 4.0)
    rates: options.Rates = ()
    deadline_ms: options.DeadlineMs = 1000
    recover: options.Recover = 30.0

    def run(self) -> None:
        with self.run_folder("open-loop") as folder:
            for server in self.servers:
                print_line(f"{server}, {self.task}")
                target = self.target(server, self.task, folder / FOLDER)
                record = measure_rates(target, self.offer(server), print_line)
                console.print(rich_table(map(rate_row, record["rates"]), rates_note(record)))
                for line in (*overload_lines(record), recovery_line(record)):
                    print_line(line)
            print_line(folder / FOLDER)
            draw_experiments(folder)

    def offer(self, server: str) -> Offer:
        return Offer(
            server=server,
            task=self.task,
            rates=tuple(self.rates or self.multiples),
            multiples=not self.rates,
            duration_s=self.duration,
            warmup_s=self.warmup,
            deadline_ms=self.deadline_ms,
            recover_s=self.recover,
            capacity_users=self.capacity_users,
            capacity_s=self.capacity_duration,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class HeadOfLineBlocking(RateOptions):
    """Measure what long texts cost short ones.

    Compares the p95 of short translations at one rate, without and with a share of long texts.
    """

    server: options.Server = "dynamic_batching"
    rate: Annotated[
        float, typer.Option(min=0, help="Requests per second; 0: half of the capacity with long texts.")
    ] = 0.0
    long_share: Annotated[float, typer.Option(min=0.01, max=0.5, help="Share of long requests.")] = 0.05
    long_tokens: Annotated[int, typer.Option(min=2, help="Source tokens of a long text, about.")] = 200
    repeats: options.Repeats = 3

    def run(self) -> None:
        with self.run_folder("head-of-line-blocking") as folder:
            target = self.target(self.server, blocking.TASK, folder / blocking.FOLDER)
            with target.with_cache():
                long_texts = blocking.texts_in_a_long_one(target, self.long_tokens)
                rate = self.rate or self.half_of_capacity(target, long_texts)
                load = Offered(
                    rate,
                    self.duration,
                    self.warmup,
                    LIMIT_MS,
                    seed=self.seed,
                    long_share=self.long_share,
                    long_texts=long_texts,
                )
                figures = blocking.measure_blocking(target, load, self.repeats, print_line)["figures"]
            if figures["p95_ratio"] is None:
                print_line("too few requests for a p95; use a longer --duration")
            else:
                print_line(
                    f"p95 of short texts at {rate:.1f} requests/s: {format_ms(figures['short_p95_ms'])} "
                    f"without long ones, {format_ms(figures['mixed_p95_ms'])} with them, "
                    f"{figures['p95_ratio']:.2f} times"
                )
            print_line(target.record_path)

    def half_of_capacity(self, target: Target, long_texts: int) -> float:
        """Half of the rate of requests, long ones included, that the server can do."""
        capacity_rps = closed_loop_rps(
            target, self.capacity_users, self.capacity_duration, self.warmup, self.seed
        )
        return capacity_rps / (1 + self.long_share * (long_texts - 1)) / 2
