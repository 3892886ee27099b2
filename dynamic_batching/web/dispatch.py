"""The one way of a request: from its header to the engine, and its answer back to the client.

What a request costs outside inference is taken from inference where both share a core, so requests to the
engine go past the framework's routing, dependencies and response models, in all servers alike. FastAPI still
documents those routes, and answers every other method and path.
"""

import asyncio

from fastapi import HTTPException, Request, Response
from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .engine import awaitable
from .errors import InvalidInput, Refusal, error_response
from .lifecycle import Lifecycle
from .metrics import Metrics
from .request_context import RequestContext
from .request_parsing import read_body
from .schemas import operations

CONTEXT = "request_context"


class Dispatch:
    """ASGI middleware: answers POST requests to `operations`, by path, and passes all else on to `app`."""

    app: ASGIApp

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.settings = lifecycle.engine.settings
        self.operations = operations(self.settings)
        self._lifecycle = lifecycle
        self._metrics = Metrics(lifecycle.engine.registry)
        self._translate = awaitable(lifecycle.engine.translate)
        self._classify = awaitable(lifecycle.engine.classify)

    def around(self, app: ASGIApp) -> "Dispatch":
        self.app = app
        return self

    def refusal(self, scope: Scope) -> HTTPException | None:
        """Begins a request; why it is not taken, as far as its header tells. Asked once, before its body."""
        self._metrics.received.inc()
        operation = self.operations.get(scope["path"]) if scope["method"] == "POST" else None
        context = scope[CONTEXT] = RequestContext(operation)
        if operation is None:
            return None
        try:
            context.set_deadline(scope["headers"], self.settings.timeout_ms)
        except InvalidInput as error:
            return error
        if self._lifecycle.state != "ready":
            return self._lifecycle.refusal()
        return self._lifecycle.engine.refusal(operation.task, context.deadline_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = None if CONTEXT in scope else self.refusal(scope)
        context: RequestContext = scope[CONTEXT]
        status = None

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *context.answer_headers()]
            await send(message)

        answer: ASGIApp = self.app
        try:
            if refusal is not None:
                answer = error_response(refusal)
            elif context.operation is not None:
                answer = await self.answer(Request(scope, receive))
            await answer(scope, receive, send_noted)
        except asyncio.CancelledError:
            # The server cancels what is not answered in time as it stops.
            task = asyncio.current_task()
            if status is not None or task is None:
                raise
            task.uncancel()
            await error_response(Refusal("not ready: draining"))(scope, receive, send_noted)
        finally:
            self.record(scope, status or 500)

    async def answer(self, request: Request) -> Response:
        """The engine's answer to a request that is taken, or that of the HTTPException it raises."""
        context: RequestContext = request.scope[CONTEXT]
        context.receive = request.receive
        operation = context.operation
        assert operation is not None
        try:
            body = await read_body(request, operation.body, self.settings)
            texts = body.texts if operation.batch else [body.text]
            if operation.task == "translation":
                answers = await self._translate(texts, body.num_beams, context)
            else:
                answers = await self._classify(texts, context)
        except HTTPException as error:
            return error_response(error)
        answer = answers if operation.batch else answers[0]
        content = to_json({operation.field: answer} if operation.field else answer)
        return Response(content, media_type="application/json")

    def record(self, scope: Scope, status: int) -> None:
        """Counts an answer that has ended."""
        context: RequestContext = scope[CONTEXT]
        route = scope["path"] if context.operation else getattr(scope.get("route"), "path", "unknown")
        self._metrics.record(route, status, context)
