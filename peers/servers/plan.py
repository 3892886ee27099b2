"""The cells of a comparison: every peer beside ours at every number of users, in rounds."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.runs.plan import Plan
from benchmark.runs.records import Cell
from peers.servers.systems import OURS, peers_of


@dataclass(frozen=True)
class PeersPlan(Plan):
    """`servers` are OURS and the names of peers; a peer has cells of the tasks that it does."""

    def servers_of(self, task: str) -> tuple[str, ...]:
        known = {OURS, *(peer.name for peer in peers_of(task))}
        return tuple(server for server in self.servers if server in known)

    def cells(self) -> Iterator[Cell]:
        """Every cell; each round starts with another server, so that a drift affects all alike."""
        for repeat in range(1, self.repeats + 1):
            for task in self.tasks:
                own = self.servers_of(task)
                shift = (repeat - 1) * len(own) // self.repeats
                for users in self.users:
                    for server in own[shift:] + own[:shift]:
                        yield Cell(server, task, "unique", 1, users, repeat)
