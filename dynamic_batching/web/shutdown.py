"""As the server stops: what is not answered in time is told so, instead of being cut off."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import NotReady, error_answer
from .telemetry import RequestClock


class Requests:
    """The requests under way, each as its task and its clock."""

    def __init__(self) -> None:
        self.running: dict[asyncio.Task[None], RequestClock] = {}
        self.given_up = False

    def give_up(self) -> None:
        """Ends every request that is under way; what works on one in a thread finds its deadline passed."""
        self.given_up = True
        for task, clock in self.running.items():
            clock.deadline_s = clock.arrived_s
            task.cancel()


class Draining:
    """ASGI middleware: a request that is given up gets a 503, unless its answer has begun."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self.app = app
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self.app(scope, receive, send)
            return
        begun = False

        async def send_noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        self.requests.running[task] = scope["clock"]
        try:
            await self.app(scope, receive, send_noted)
        except asyncio.CancelledError:
            if begun or not self.requests.given_up:
                raise
            task.uncancel()
            await error_answer(NotReady("not ready: draining"))(scope, receive, send)
        finally:
            del self.requests.running[task]
