"""What an engine refuses is refused as soon as a request's header is there: no task, no body, no routing.

Under overload refusals outnumber answers, and what they cost is taken from inference on the same core. On an
ASGI server without this protocol the app refuses, with the same answers.
"""

import contextlib
from typing import Any

from .errors import error_response
from .http_limits import LimitedHttp


class LoadSheddingHttp(LimitedHttp):
    """A connection that answers what the app's service refuses, and starts the app for the rest."""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        service = self.app_state["service"]
        # Behind a pipelined request come more: refused one in the other's call they would nest too deep.
        if self.pipeline or self.flow.write_paused or (refusal := service.refusal(cycle.scope)) is None:
            super()._start_asgi_task(cycle, app)
            return
        # With nothing to wait for, a response ends in one step and needs no task; a body is passed over.
        with contextlib.suppress(StopIteration):
            error_response(refusal)(cycle.scope, cycle.receive, cycle.send).send(None)
        service.record(cycle.scope, refusal.status_code)
