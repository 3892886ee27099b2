"""What a run measures, and in which order."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from benchmark.runs.records import Cell
from dynamic_batching.web.cpus import allowed_cpus, cpu_quota


@dataclass(frozen=True)
class Plan:
    """The levels of a run. `workloads` are pairs of a name and the texts a request carries.

    A cell of `duration_s` is measured for up to `max_duration_s` where its figures cannot be trusted yet.
    `load_generator_limit_s`: seconds to measure the load generator's own limit at each level; 0: it is not.
    """

    servers: tuple[str, ...]
    tasks: tuple[str, ...]
    workloads: tuple[tuple[str, int], ...]
    users: tuple[int, ...]
    repeats: int
    duration_s: float
    warmup_s: float
    settle_s: float
    seed: int = 0
    max_duration_s: float = 0.0
    load_generator_limit_s: float = 0.0

    def cells(self) -> Iterator[Cell]:
        """Every cell, rounds interleaved across servers (A B C, B C A, C A B), so that a drift of the
        machine's speed falls on all of them alike."""
        for repeat in range(1, self.repeats + 1):
            shift = (repeat - 1) % len(self.servers)
            round_order = self.servers[shift:] + self.servers[:shift]
            for task in self.tasks:
                for workload, texts in self.workloads:
                    for users in self.users:
                        for server in round_order:
                            yield Cell(server, task, workload, texts, users, repeat)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Plan":
        return TypeAdapter(cls).validate_python(content)


@dataclass(frozen=True)
class Cores:
    """Which cores the server runs on, and which one the load generator has."""

    server: tuple[int, ...]
    load: tuple[int, ...]

    @property
    def apart(self) -> bool:
        return not set(self.server) & set(self.load)

    @classmethod
    def split(cls, server_cores: int | None = None) -> "Cores":
        """The last core this process may use for the load, `server_cores` of the others for the server.

        Unless given, as many as the CPU quota has room for beside the load; on a single core both share it.
        """
        usable, quota = allowed_cpus(), cpu_quota()
        if server_cores is None and quota is not None:
            usable = usable[-max(1, int(quota)) :]
        others = usable[:-1] or usable
        return cls(tuple(others[:server_cores]), (usable[-1],))
