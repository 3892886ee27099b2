"""A client: sends one request after the other, each in its manner, and notes what came back."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaos import asks
from chaos.asks import Ask
from chaos.wire import Answer, Connection

# Below the time after which a server gives an idle connection up: a request is never sent into that.
LONGEST_IDLE_S = 1.5


@dataclass(frozen=True)
class Outcome:
    """What became of a request: an answer, or none and why; times by time.perf_counter()."""

    ask: Ask
    sent_s: float
    ended_s: float
    answer: Answer | None = None
    lost: str = ""
    surplus: bytes = b""


class Client:
    """Keeps a connection alive where its server does, as browsers and proxies do."""

    def __init__(self, port: int, patience_s: float, slow_byte_s: float) -> None:
        self._port = port
        self._slow_byte_s = slow_byte_s
        self._patience_s = patience_s
        self._kept: Connection | None = None

    async def run(self, source: Iterator[tuple[float, Ask]], note: Callable[[Outcome], None]) -> None:
        """Takes from `source`, which other clients share, until it is empty: each not before its time."""
        for due_s, ask in source:
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            note(await self.perform(ask))
        self.close()

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def perform(self, ask: Ask) -> Outcome:
        """Sends one request in its manner; a server that is not there is an outcome as well."""
        started_s = time.perf_counter()
        try:
            connection = await self._connection()
        except OSError as error:
            return Outcome(ask, started_s, time.perf_counter(), lost=f"no connection: {error}")
        surplus = bytes(connection.received)
        if surplus:
            connection.received.clear()
        try:
            answer, lost = await self._exchange(connection, ask)
        except asyncio.CancelledError:
            connection.close()
            raise
        ended_s = time.perf_counter()
        if answer is not None and ask.manner in (asks.WHOLE, asks.SLOW) and not ask.raw:
            self._keep(connection, answer)
            surplus += b"" if self._kept else bytes(connection.received)
        else:
            connection.close()
        return Outcome(ask, started_s, ended_s, answer, lost, surplus)

    async def _exchange(self, connection: Connection, ask: Ask) -> tuple[Answer | None, str]:
        head, body = (ask.raw, b"") if ask.raw else (ask.head(), ask.body)
        cut = round(len(body) * ask.cut)
        match ask.manner:
            case asks.GONE_IN_HEAD:
                await connection.send(head[: round(len(head) * ask.cut)])
                connection.close()
            case asks.GONE_IN_BODY:
                await connection.send(head + body[: min(cut, len(body) - 1)])
                await asyncio.sleep(ask.delay_s)
                connection.close()
            case asks.GONE_WAITING | asks.RESET_WAITING:
                await connection.send(head + body)
                await asyncio.sleep(ask.delay_s)
                connection.close() if ask.manner == asks.GONE_WAITING else connection.reset()
            case asks.GONE_READING:
                await connection.send(head + body)
                try:
                    await connection.first_bytes(self._patience_s)
                except TimeoutError:
                    return None, "no answer in time"
                finally:
                    connection.reset()
            case _:
                await self._send_all(connection, ask, head, body, cut)
                return await self._answer(connection)
        return None, "left early"

    async def _send_all(self, connection: Connection, ask: Ask, head: bytes, body: bytes, cut: int) -> None:
        if ask.manner == asks.SLOW:
            slow = body[cut : cut + round(ask.delay_s)]
            await connection.send(head + body[:cut])
            for at in range(len(slow)):
                await asyncio.sleep(self._slow_byte_s)
                if connection.ended:
                    return
                await connection.send(slow[at : at + 1])
            await connection.send(body[cut + len(slow) :])
            return
        await connection.send(head + body)
        if ask.manner == asks.HALF_CLOSED:
            connection.half_close()

    async def _answer(self, connection: Connection) -> tuple[Answer | None, str]:
        try:
            answer = await connection.answer(self._patience_s)
        except TimeoutError:
            return None, "no answer in time"
        if answer is None:
            return None, "cut off in its answer" if connection.received else "closed without an answer"
        return answer, ""

    async def _connection(self) -> Connection:
        kept, self._kept = self._kept, None
        if kept is not None:
            if not kept.ended and time.perf_counter() - kept.last_used_s < LONGEST_IDLE_S:
                return kept
            kept.close()
        return await Connection.open(self._port)

    def _keep(self, connection: Connection, answer: Answer) -> None:
        if connection.ended or answer.headers.get("connection", "").lower() == "close":
            connection.close()
            return
        connection.last_used_s = time.perf_counter()
        self._kept = connection
