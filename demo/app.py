"""The demo's HTTP: the page, and what the page asks; the page talks to nothing else.

GET  /               the page; its files are under /page
GET  /state          servers, limits and notes
POST /ask/{server}   one text to one server: its answer and where the time went
POST /compare        all servers under load, one after another: events as JSON lines until the end
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from benchmark.measure.processes import ProcessFailed
from benchmark.runs.records import ServerName, TaskName
from benchmark.stats.figures import sample_floor
from demo.comparison import MAX_SECONDS, MAX_USERS, Busy, Comparisons, Plan
from demo.http_client import Answer, Connection, NoAnswer
from demo.servers import Servers
from locustfiles.answers import route

PAGE = Path(__file__).parent / "page"
# Far above the servers' own limit, whose message the page shows.
MAX_TEXT_CHARS = 200_000
WATCH_INTERVAL_S = 0.5
ASK_TIMEOUT_S = 60.0
BUSY = "A comparison is running; stop it first."
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Question(BaseModel):
    """A text for one server."""

    task: TaskName
    text: Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


def create_app(servers: Servers, comparisons: Comparisons, models: str) -> FastAPI:
    """`models` says what the servers answer with."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(watch(servers))
        yield
        watching.cancel()

    app = FastAPI(title="inference-gap demo", lifespan=lifespan, docs_url=None, redoc_url=None)
    # A page of another origin that a name is made to point here with is not answered.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    app.mount("/page", StaticFiles(directory=PAGE))
    by_name = {server.name: server for server in servers.all}

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers=HEADERS)

    @app.get("/state")
    async def state() -> dict[str, Any]:
        return {
            "servers": [server.as_json() for server in servers.all],
            "notes": [f"Models: {models}.", *servers.notes()],
            "max_users": MAX_USERS,
            "max_seconds": MAX_SECONDS,
            "sample_floors": {"p50": sample_floor(50), "p95": sample_floor(95)},
        }

    @app.post("/ask/{name}")
    async def ask(name: ServerName, question: Question) -> Response:
        server = by_name[name]
        try:
            await comparisons.wait_idle()
            server.check()
            with await Connection.open(server.url) as connection:
                body = json.dumps({"text": question.text})
                started_s = time.perf_counter()
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    answer = await connection.post(route(question.task, False), body)
                total_ms = (time.perf_counter() - started_s) * 1e3
        except Busy:
            raise HTTPException(409, BUSY) from None
        except TimeoutError:
            raise HTTPException(504, f"{name} did not answer within {ASK_TIMEOUT_S:g} s") from None
        except (ProcessFailed, NoAnswer) as error:
            raise HTTPException(502, f"{name} does not answer: {error}") from None
        if answer.status != 200:
            return Response(answer.content, answer.status, media_type="application/json")
        passed_on = {"Server-Timing": answer.headers.get("server-timing", "")}
        return JSONResponse(timed(answer, total_ms), headers=passed_on)

    @app.post("/compare")
    async def compare(plan: Plan) -> StreamingResponse:
        try:
            return StreamingResponse(await comparisons.start(plan), media_type="application/x-ndjson")
        except Busy:
            raise HTTPException(409, BUSY) from None

    return app


def timed(answer: Answer, total_ms: float) -> dict[str, Any]:
    """A server's answer, what its Server-Timing says, and the rest of the time from sending to the answer."""
    timing = re.findall(r"(\w+);dur=([\d.]+)", answer.headers.get("server-timing", ""))
    phases_ms = {"tokenize": 0.0, "queue": 0.0, "inference": 0.0} | {name: float(ms) for name, ms in timing}
    return {
        "answer": json.loads(answer.content),
        "phases_ms": phases_ms | {"http": max(0.0, total_ms - sum(phases_ms.values()))},
        "total_ms": total_ms,
        "cache": answer.headers.get("x-cache"),
    }


async def watch(servers: Servers) -> None:
    """Notices a server that ends while nobody asks it."""
    while True:
        for server in servers.all:
            with suppress(ProcessFailed):
                server.check()
        await asyncio.sleep(WATCH_INTERVAL_S)
