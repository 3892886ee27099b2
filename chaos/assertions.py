"""What must hold for every response, and for a server that is idle after a run."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from benchmark.measure.process_sampler import ProcessUsage
from benchmark.measure.server_metrics import ServerMetrics
from chaos.clients import DISCONNECTED, Outcome
from chaos.golden_answers import ROUTES, same
from chaos.raw_http import CLOSED

WRONG, MISSING, EXTRA = "wrong answer", "missing response", "extra response"
UNEXPECTED = "unexpected status or body"
RESPONSE_ASSERTIONS = (WRONG, MISSING, EXTRA, UNEXPECTED)
MAX_SHOWN = 300
# Of valid requests with no fault at their time; the others may be refused or miss their deadline.
MIN_ANSWERED_SHARE = 0.9
# A connection to Redis may be open at one moment and not at another.
OPEN_FILES_TOLERANCE = 4
ALL_ROUTES = [route + suffix for route in ROUTES.values() for suffix in ("", "/batch")]
NO_STATUS = ""
ALWAYS_COUNTED = {"200", "422", "500", "503", "504"}
# uvicorn answers 400 itself.
NEVER_COUNTED = {"400", NO_STATUS}

# Whether a fault was injected into a task's engine between two times.
FaultOverlaps = Callable[[str, float, float], bool]


class Violation(NamedTuple):
    assertion: str
    detail: str


def check_outcome(outcome: Outcome, fault_overlaps: FaultOverlaps) -> Violation | None:
    """The first assertion that an outcome violates."""
    request, response = outcome.request, outcome.response
    if outcome.extra:
        return Violation(EXTRA, excerpt(outcome.extra))
    if response is None:
        allowed = {DISCONNECTED, CLOSED} if request.response_optional else {DISCONNECTED}
        return None if outcome.reason in allowed else Violation(MISSING, outcome.reason)
    status, body, detail = response.status, excerpt(response.body), ""
    if status == 500:
        provoked = 500 in request.statuses or fault_overlaps(request.task, outcome.sent_s, outcome.ended_s)
        if not provoked:
            detail = "500 without an injected fault"
        elif response.json() != {"detail": "internal server error"}:
            detail = f"the body of a 500 is not the constant one: {body}"
    elif status not in request.statuses:
        detail = f"{status} {body}"
    elif status == 200:
        if not same(request.golden, response.json()):
            return Violation(WRONG, f"{body} to {excerpt(request.body)}")
    elif status == 503 and "retry-after" not in response.headers:
        detail = "503 without Retry-After"
    elif not request.raw and "detail" not in (response.json() or {}):
        detail = f"{status} without detail: {body}"
    return Violation(UNEXPECTED, detail) if detail else None


def excerpt(data: bytes) -> str:
    return repr(data[:MAX_SHOWN])


def check_answered_share(outcomes: Iterable[Outcome], fault_overlaps: FaultOverlaps) -> list[str]:
    """An error where too many valid requests were refused or missed their deadline."""
    statuses = Counter(
        outcome.response.status
        for outcome in outcomes
        if outcome.response is not None
        and outcome.request.kind == "valid"
        and not fault_overlaps(outcome.request.task, outcome.sent_s, outcome.ended_s)
    )
    if statuses[200] >= MIN_ANSWERED_SHARE * statuses.total():
        return []
    return [f"200 to {statuses[200]} of {statuses.total()} valid requests without a fault at their time"]


def check_leaks(before: ProcessUsage, after: ProcessUsage, max_memory_growth: float) -> list[str]:
    """What grew between two moments at which the server was idle."""
    errors = []
    growth = after.rss_bytes / before.rss_bytes - 1
    if growth > max_memory_growth:
        errors.append(f"memory grew by {growth:.1%}, from {before.rss_bytes} to {after.rss_bytes} bytes")
    if after.open_files > before.open_files + OPEN_FILES_TOLERANCE:
        errors.append(f"open files grew from {before.open_files} to {after.open_files}")
    return errors


def in_flight(metrics: ServerMetrics) -> int:
    """Requests received and not yet answered, without the one that read the metrics."""
    return metrics.total("gap_received_total") - metrics.total("gap_requests_total") - 1


def check_counters(metrics: ServerMetrics) -> list[str]:
    """Which equations between the counters of an idle server do not hold."""
    equations = [("requests in flight = 0", in_flight(metrics), 0)]
    scheduled = metrics.sum("gap_admitted_total") is not None
    for task, route in ROUTES.items() if scheduled else ():

        def total(name: str, task: str = task, **labels: str) -> int:
            return metrics.total(f"gap_{name}", task=task, **labels)

        counts = {
            "200": total("answered_total"),
            "500": total("failed_total"),
            "503": total("refused_total") + total("dropped_total", cause="draining"),
            "504": total("dropped_total", cause="deadline_passed"),
        }
        for status, count in counts.items():
            responses = sum(
                metrics.total("gap_requests_total", route=one, status=status)
                for one in (route, f"{route}/batch")
            )
            equations.append((f"{task}: ended in {status} = responses with {status}", count, responses))
        ended = counts["200"] + counts["500"] + total("dropped_total")
        equations.append((f"{task}: admitted = answered + failed + dropped", total("admitted_total"), ended))
        for gauge in ("occupied_slots", "queue_requests", "queue_tokens"):
            equations.append((f"{task}: {gauge} = 0", total(gauge), 0))
    return [f"{name}: {left} and {right}" for name, left, right in equations if left != right]


def check_counters_against_clients(
    before: ServerMetrics, after: ServerMetrics, outcomes: Iterable[Outcome]
) -> list[str]:
    """Where the server counted other responses than its clients received between two readings.

    Of a client without a response, the server may have counted one of any status.
    """
    received = Counter(
        (outcome.request.route, str(outcome.response.status) if outcome.response else NO_STATUS)
        for outcome in outcomes
    )
    errors = []
    statuses = {status for _, status in received} | ALWAYS_COUNTED
    for route, status in itertools.product(ALL_ROUTES, sorted(statuses - NEVER_COUNTED)):
        counted, counted_before = (
            metrics.total("gap_requests_total", route=route, status=status) for metrics in (after, before)
        )
        least = received[route, status]
        most = least + received[route, NO_STATUS]
        if not least <= counted - counted_before <= most:
            count = counted - counted_before
            errors.append(
                f"{route}: {count} responses with {status}, {least} to {most} by the clients' count"
            )
    return errors
