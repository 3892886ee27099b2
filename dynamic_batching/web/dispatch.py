"""The busiest routes, called without the framework's routing, dependencies and response models.

What a request costs outside inference is taken from inference where both share a core, and those were a good
part of it in a profile.
The routes stay declared to FastAPI, which documents them and answers every other method and path.
"""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import RequestError, error_answer

Endpoint = Callable[[Request], Awaitable[Response]]


class HotRoutes:
    """ASGI middleware: POST requests to the `routes`, by path, go straight to their endpoints."""

    def __init__(self, app: ASGIApp, routes: Mapping[str, APIRoute]) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        endpoint: Endpoint = route.endpoint
        try:
            answer = await endpoint(Request(scope, receive))
        except RequestError as error:
            answer = error_answer(error)
        await answer(scope, receive, send)
