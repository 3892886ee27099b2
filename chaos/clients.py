"""A client that sends one request after the other and records what came back."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from chaos.plan import Plan
from chaos.raw_http import Connection, NoResponse, Response
from chaos.requests import DISCONNECTS, Delivery, Request

# Shorter than the server's keep-alive timeout: no request is sent on a connection the server is closing.
MAX_IDLE_S = 1.5
DISCONNECTED = "client disconnected"


@dataclass(frozen=True)
class Outcome:
    """The response to a request, or the reason why there is none; times by time.perf_counter().

    `extra` are bytes on the connection that belong to no response expected.
    """

    request: Request
    sent_s: float
    ended_s: float
    response: Response | None = None
    reason: str = ""
    extra: bytes = b""


class Client:
    """Keeps its connection alive where the server does."""

    def __init__(self, url: str, plan: Plan) -> None:
        self._address = urlsplit(url).hostname, urlsplit(url).port
        self._plan = plan
        self._kept: Connection | None = None

    async def run(self, schedule: Iterator[tuple[float, Request]], record: Callable[[Outcome], None]) -> None:
        """Sends the requests of a schedule that clients share, none before its time."""
        try:
            for due_s, request in schedule:
                await asyncio.sleep(due_s - time.perf_counter())
                record(await self.send(request))
        finally:
            self.close()

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def send(self, request: Request) -> Outcome:
        """Sends one request; does not raise where the server is not there or misbehaves."""
        sent_s, response, reason = time.perf_counter(), None, ""
        try:
            connection, extra = await self._connect()
        except OSError as error:
            return Outcome(request, sent_s, time.perf_counter(), reason=f"no connection: {error}")
        timeout_s = self._plan.response_timeout_s + request.slow_bytes * self._plan.slow_byte_interval_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._send_chunks(connection, request)
                if request.delivery in DISCONNECTS:
                    await self._disconnect(connection, request)
                    reason = DISCONNECTED
                else:
                    response = await connection.response()
                    extra += connection.take()
                    self._keep(connection, request, response)
        except TimeoutError:
            reason = "response timeout"
        except NoResponse as error:
            reason = str(error)
        finally:
            if connection is not self._kept:
                connection.close()
        return Outcome(request, sent_s, time.perf_counter(), response, reason, extra)

    async def _connect(self) -> tuple[Connection, bytes]:
        """A connection, and bytes that arrived on it after its last response. Raises OSError."""
        extra = self._kept.take() if self._kept else b""
        if self._kept and (self._kept.ended or time.perf_counter() - self._kept.last_used_s > MAX_IDLE_S):
            self.close()
        connection, self._kept = self._kept or await Connection.open(*self._address), None
        return connection, extra

    async def _send_chunks(self, connection: Connection, request: Request) -> None:
        first, *others = request.chunks()
        await connection.send(first)
        for chunk in others:
            await asyncio.sleep(self._plan.slow_byte_interval_s)
            if connection.has_response():
                return
            await connection.send(chunk)
        if request.delivery == Delivery.HALF_CLOSE:
            connection.half_close()

    async def _disconnect(self, connection: Connection, request: Request) -> None:
        if request.delivery == Delivery.RESET_READING:
            await connection.read()
        else:
            await asyncio.sleep(request.delay_s)
        connection.close(reset=request.delivery.startswith("reset"))

    def _keep(self, connection: Connection, request: Request, response: Response) -> None:
        """Keeps the connection for the next request where both sides allow it."""
        reusable = request.delivery in (Delivery.COMPLETE, Delivery.SLOW) and not request.raw
        if reusable and not connection.ended and response.headers.get("connection", "").lower() != "close":
            connection.last_used_s = time.perf_counter()
            self._kept = connection
