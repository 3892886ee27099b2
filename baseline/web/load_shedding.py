"""What an engine refuses is refused as soon as a request's header is there: no task, no body, no routing.

Under overload refusals outnumber answers, and what they cost is taken from inference on the same core. On an
ASGI server without this protocol the app refuses, with the same answers.
"""

import contextlib
from typing import Any, cast

from starlette.types import Receive, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from .dispatch import Dispatch
from .errors import error_response
from .http_limits import LimitedHttp


class LoadSheddingHttp(LimitedHttp):
    """A connection that answers what the app's dispatch refuses, and starts the app for the rest."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        dispatch: Dispatch = self.app_state["dispatch"]
        scope: Any = cycle.scope
        # Behind a pipelined request come more: refused one in the other's call they would nest too deep.
        if self.pipeline or self.flow.write_paused or (refusal := dispatch.refusal(scope)) is None:
            super()._start_asgi_task(cycle, app)
            return
        # With nothing to wait for, a response ends in one step and needs no task. The rest of the request's
        # body is passed over, within the limits.
        receive, send = cast(Receive, cycle.receive), cast(Send, cycle.send)
        with contextlib.suppress(StopIteration):
            error_response(refusal)(scope, receive, send).send(None)
        dispatch.record(scope, refusal.status_code)
