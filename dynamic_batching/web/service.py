"""One engine behind HTTP: its life, and the one way of a request to it and of the answer back.

What a request costs outside inference is taken from inference where both share a core, so requests to the
engine go past FastAPI's routing, which documents them and answers every other method and path.
"""

import asyncio
import itertools
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
from fastapi import HTTPException, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .engine import Engine, awaitable
from .errors import InvalidInput, NotReady, error_response
from .metrics import Metrics
from .protocols.routes import operations
from .request_context import CONTEXT, UNREADABLE, RequestContext
from .request_parsing import read_body
from .sentences import SentenceSplitter, SplitText

log = logging.getLogger(__name__)


class Service:
    """ASGI middleware: answers POST requests to `operations`, by path, and passes all else on to `app`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.loaded = self._broken = False
        self.operations = operations(engine)
        self._metrics = Metrics(engine.registry)
        self._translate, self._classify = awaitable(engine.translate), awaitable(engine.classify)
        engine.on_broken = self._end

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Loads the engine while /health answers, and closes it when no request is under way any more."""
        loading = asyncio.create_task(self._load())
        yield
        await asyncio.wait([loading])
        await awaitable(self.engine.close)()
        if self._broken:
            end_process()

    async def _load(self) -> None:
        try:
            await awaitable(self.engine.load)()
            self._splitter = SentenceSplitter(self.engine.models.translator)
        except Exception as error:
            # A server without models can do nothing; its end says so to whoever supervises it.
            log.error("models cannot be loaded: %s", error)
            end_process()
        cold_start_s = time.time() - psutil.Process().create_time()
        self._metrics.cold_start.set(cold_start_s)
        log.info("Model loaded! Cold start %.2f s", cold_start_s)
        self.loaded = True

    def _end(self, problem: str) -> None:
        """Stops the server as SIGTERM does, but as a failure: whoever supervises it starts it again."""
        if not self._broken:
            self._broken = True
            log.error("the server ends: %s", problem)
            signal.raise_signal(signal.SIGTERM)

    def unready(self) -> NotReady | None:
        """Why the server is not ready."""
        problem = self.engine.unready() if self.loaded else "loading"
        return NotReady(problem) if problem else None

    def require_ready(self) -> None:
        """Raises NotReady unless it is."""
        if problem := self.unready():
            raise problem

    def around(self, app: ASGIApp) -> "Service":
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
            context.set_deadline(scope["headers"], self.engine.settings.timeout_ms)
        except InvalidInput as error:
            return error
        if not self.loaded:
            return self.unready()
        return self.engine.refusal(operation.task, context.deadline_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = None if CONTEXT in scope else self.refusal(scope)
        if scope["method"] == "HEAD":
            # A GET, of whose answer the ASGI server sends the header alone.
            scope = {**scope, "method": "GET"}
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
                answer = error_response(refusal, context.error_form)
            elif context.operation is not None:
                answer = await self.answer(Request(scope, receive))
            await answer(scope, receive, send_noted)
        except asyncio.CancelledError:
            # The server cancels what is late as it stops; a thread that works on it finds no time left.
            context.deadline_s = context.arrived_s
            task = asyncio.current_task()
            if status is not None or task is None:
                raise
            task.uncancel()
            await error_response(NotReady("draining"), context.error_form)(scope, receive, send_noted)
        finally:
            context.receive = None  # it holds the scope: a cycle that only a collection would free
            self.record(scope, status or 500)

    async def answer(self, request: Request) -> Response:
        """The engine's answer to a request that is taken, or that of the HTTPException it raises."""
        context: RequestContext = request.scope[CONTEXT]
        context.receive = request.receive
        operation = self.operations[request.scope["path"]]
        try:
            content = await read_body(request, self.engine.settings)
            if operation.other is not None and operation.other.takes(request.headers, content):
                operation = context.operation = operation.other
            query = operation.parse(request.headers, content)
            context.place = query.place
            if operation.task == "translation":
                answers: list[Any] = await self._translate_texts(query.texts, query.num_beams, context)
            else:
                context.asked = [*enumerate(query.texts)]
                answers = await self._classify(query.texts, context)
        except HTTPException as error:
            return error_response(error, context.error_form)
        return query.write(answers)

    async def _translate_texts(self, texts: list[str], num_beams: int, context: RequestContext) -> list[str]:
        """The translations of texts, which the engine translates sentence by sentence."""
        split: list[SplitText] = []
        for text in texts:
            if split:
                # Other requests go on between the texts of a large batch.
                await asyncio.sleep(0)
            started_s = time.perf_counter()
            split.append(self._splitter.split(text))
            context.add("tokenize", time.perf_counter() - started_s)
        if unreadable := [index for index, one in enumerate(split) if one.unreadable]:
            context.refuse_texts(dict.fromkeys(unreadable, UNREADABLE))
        context.asked = [(index, each) for index, one in enumerate(split) for each in one.sentences]
        if not context.asked:
            return texts
        translated = await self._translate([each for _, each in context.asked], num_beams, context)
        self._metrics.record_sentences(translated)
        rest = iter(translated)
        parts = [[*itertools.islice(rest, len(one.sentences))] for one in split]
        cut = [any(sentence.finish_reason == "length" for sentence in part) for part in parts]
        if any(cut):
            reasons = ", ".join("length" if one else "stop" for one in cut)
            context.headers.append((b"x-finish-reason", reasons.encode()))
        texts_of = [[sentence.text for sentence in part] for part in parts]
        return [one.join(translations) for one, translations in zip(split, texts_of, strict=True)]

    def record(self, scope: Scope, status: int) -> None:
        """Counts an answer that has ended."""
        context: RequestContext = scope[CONTEXT]
        route = scope["path"] if context.operation else getattr(scope.get("route"), "path", "unknown")
        self._metrics.record(route, status, context)


def end_process() -> None:
    """Ends it as failed; a thread that hangs must not keep it from ending."""
    logging.shutdown()
    os._exit(1)
