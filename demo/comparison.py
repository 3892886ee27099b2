"""The comparison of the servers under load: one at a time, its events as JSON lines, its end bounded."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field

from benchmark.charts.titles import ALIKE, NAMES, REFERENCE, headline
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.records import SERVERS, TASKS, TaskName
from benchmark.stats.figures import RATE_FLOOR
from benchmark.stats.formatting import format_users
from demo.batch_timeline import batch_timeline, clear_trace
from demo.load import Figures, Load
from demo.servers import DemoServer, Servers
from locustfiles.inputs import InputsExhausted, Sample, unique

MAX_USERS, MAX_SECONDS = 100, 20
TICK_S = 0.25
SETTLE_S, LAST_ANSWERS_S = 30.0, 60.0

Event = dict[str, Any]
Put = Callable[[Event], None]


class Plan(BaseModel):
    """What is compared: `users` at once send texts of `task` to each server, measured for `seconds`."""

    task: TaskName
    users: Annotated[int, Field(ge=1, le=MAX_USERS)]
    seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 5


class Busy(Exception):
    """A comparison is running."""


def sentence(plan: Plan, rates: dict[str, float]) -> str:
    """The finding; `rates` are the requests a second of each server that has enough answers for a rate."""
    if REFERENCE in rates and len(rates) > 1:
        if max(rates.values()) > ALIKE * rates[REFERENCE]:
            return f"{headline({plan.task: rates}, plan.users)}."
        users = format_users(plan.users)
        return f"At {users} no server answers more {plan.task} requests than the baseline."
    missing = ", ".join(NAMES[server] for server in SERVERS if server not in rates)
    few = f"fewer than {RATE_FLOOR} right answers in {plan.seconds} s"
    return f"{missing}: {few}, so there is no factor. Choose more seconds."


@dataclass(frozen=True)
class Measurement:
    """The load of one server in its phases; an event a tick goes to `put`.

    The last event holds the CPU time a second that this process, which is the load, took in the window.
    """

    server: DemoServer
    plan: Plan
    load: Load
    put: Put

    async def run(self) -> Figures:
        """Raises ProcessFailed where the server ends, InputsExhausted where texts do."""
        load, seconds = self.load, self.plan.seconds
        await self._phase("first answers", SETTLE_S, lambda: not load.users_without_answer)
        load.open_window(seconds)
        opened_cpu_s = time.process_time()
        await self._phase("measuring", seconds, lambda: False)
        load_cpu = (time.process_time() - opened_cpu_s) / seconds
        load.leave()
        await self._phase("last answers", LAST_ANSWERS_S, lambda: not load.active_users)
        figures = load.figures()
        assert figures is not None
        self._tick("done", load_cpu=load_cpu)
        return figures

    async def _phase(self, name: str, limit_s: float, ended: Callable[[], bool]) -> None:
        end_s = time.perf_counter() + limit_s
        while not ended() and (left_s := end_s - time.perf_counter()) > 0:
            await asyncio.sleep(min(TICK_S, left_s))
            self.server.check()
            self.load.check()
            self._tick(name)

    def _tick(self, phase: str, **more: float) -> None:
        load, figures = self.load, self.load.figures()
        waiting = {"first answers": load.users_without_answer, "last answers": load.active_users}
        event = {"event": "tick", "server": self.server.name, "phase": phase, **more}
        self.put(event | {"waiting": waiting.get(phase, 0), "figures": figures and figures.as_json()})


class Comparisons:
    """Runs one comparison at a time. No text is sent to a server twice while the demo runs."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._samples = {task: unique(task) for task in TASKS}
        self._running: asyncio.Task[None] | None = None
        self._stopped = False

    async def wait_idle(self) -> None:
        """Waits until servers have answered what a stopped comparison asked; Busy where one is running."""
        while self._running is not None and not self._running.done():
            if not self._stopped:
                raise Busy
            await asyncio.wait([self._running])

    async def start(self, plan: Plan) -> AsyncIterator[str]:
        """The events of a new comparison as JSON lines; it is stopped where they are not read any more."""
        await self.wait_idle()
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._stopped = False
        self._running = asyncio.create_task(self._run(plan, events))
        return self._lines(events)

    def stop(self) -> None:
        """Ends the running comparison, if any; its users leave with their last answers."""
        if self._running is not None and not self._stopped:
            self._stopped = True
            self._running.cancel()

    async def _lines(self, events: "asyncio.Queue[Event | None]") -> AsyncIterator[str]:
        try:
            while (event := await events.get()) is not None:
                yield json.dumps(event) + "\n"
        finally:
            self.stop()

    async def _run(self, plan: Plan, events: "asyncio.Queue[Event | None]") -> None:
        rates: dict[str, float] = {}
        # Every server is sent the same texts; the next comparison goes on after the last text of this one.
        copies = itertools.tee(self._samples[plan.task], len(self._servers.all))
        try:
            for server, samples in zip(self._servers.all, copies, strict=True):
                try:
                    figures = await self._measure(server, plan, samples, events)
                except (ProcessFailed, InputsExhausted) as error:
                    events.put_nowait({"event": "failed", "server": server.name, "message": str(error)})
                    continue
                if figures.rps and figures.answers >= RATE_FLOOR:
                    rates[server.name] = figures.rps
            events.put_nowait({"event": "end", "sentence": sentence(plan, rates)})
        finally:
            events.put_nowait(None)

    async def _measure(
        self,
        server: DemoServer,
        plan: Plan,
        samples: Iterator[Sample],
        events: "asyncio.Queue[Event | None]",
    ) -> Figures:
        server.check()
        if server.trace_path:
            clear_trace(server.trace_path)
        load = Load(server.url, plan.task, plan.users, samples, self._servers.trained[plan.task])
        try:
            figures = await Measurement(server, plan, load, events.put_nowait).run()
        except asyncio.CancelledError:
            events.put_nowait(None)  # whoever reads is not kept until the last answers
            await load.end(LAST_ANSWERS_S)
            raise
        finally:
            load.disconnect()
        if server.trace_path and (timeline := batch_timeline(server.trace_path, plan.task)):
            events.put_nowait({"event": "batch", **timeline})
        return figures
