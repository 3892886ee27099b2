"""What an engine refuses is refused as soon as a request's header is there: no task, no body, no framework.

Under overload refusals outnumber answers, and what they cost is taken from inference on the same core. On an
ASGI server without this protocol the app refuses, with the same answers.
"""

from typing import Any

from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from .http_limits import LimitedHttp
from .request_context import CONTEXT


class LoadSheddingHttp(LimitedHttp):
    """A connection that answers what the app's service refuses, and starts the app for the rest."""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        service, scope = self.app_state["service"], cycle.scope
        # Behind a pipelined request come more: refused one in the other's call they would nest too deep.
        if self.pipeline or (refusal := service.refusal(scope)) is None:
            super()._start_asgi_task(cycle, app)
            return
        status, content = scope[CONTEXT].error_form(refusal)
        if cycle.access_log:
            request = get_client_addr(scope), scope["method"], get_path_with_query_string(scope)
            cycle.access_logger.info('%s - "%s %s HTTP/%s" %d', *request, scope["http_version"], status)
        self.write_error(status, content, refusal.headers or {}, close=not cycle.keep_alive)
        # The body, where one is yet to come, is passed over within the limits.
        cycle.response_started = cycle.response_complete = True
        self.on_response_complete()
        service.record(scope, status)
