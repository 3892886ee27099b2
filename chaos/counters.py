"""What a server counted, held against itself and against what its clients saw."""

from collections import Counter
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from benchmark.measure import loopback
from chaos.clients import Outcome
from chaos.texts import ROUTES

TIMEOUT_S = 10.0
POSTS = {task: (route, f"{route}/batch") for task, route in ROUTES.items()}


class Counts:
    """One page of /metrics."""

    def __init__(self, page: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(page) for sample in family.samples
        ]

    @classmethod
    def read(cls, url: str) -> "Counts":
        """Raises httpx.HTTPError."""
        answer = loopback.get(f"{url}/metrics", timeout=TIMEOUT_S)
        answer.raise_for_status()
        return cls(answer.text)

    def total(self, name: str, **labels: str) -> int:
        """The sum of a metric's samples with these labels; 0 where there are none."""
        return round(
            sum(
                sample.value
                for sample in self._samples
                if sample.name == name and labels.items() <= sample.labels.items()
            )
        )

    def has(self, name: str) -> bool:
        return any(sample.name == name for sample in self._samples)

    def unfinished(self) -> int:
        """Requests that were received and are not counted by how they ended; this page's own is left out."""
        return self.total("gap_received_total") - self.total("gap_requests_total") - 1

    def causes(self, name: str) -> dict[str, int]:
        found: Counter[str] = Counter()
        for sample in self._samples:
            if sample.name == name:
                found[sample.labels["cause"]] += round(sample.value)
        return dict(found)


def contradictions(counts: Counts) -> list[str]:
    """How the counts of a server at rest fail to add up."""
    found = []
    if counts.unfinished():
        found.append(f"{counts.unfinished()} requests were received and never ended")
    if not counts.has("gap_admitted_total"):
        return found
    for task, routes in POSTS.items():

        def of(name: str, task: str = task, **labels: str) -> int:
            return counts.total(name, task=task, **labels)

        def ended(status: str, routes: Iterable[str] = routes) -> int:
            return sum(counts.total("gap_requests_total", route=route, status=status) for route in routes)

        dropped, refused = of("gap_dropped_total"), of("gap_refused_total")
        for name, left, right in (
            (
                "admitted = answered + failed + dropped",
                of("gap_admitted_total"),
                of("gap_answered_total") + of("gap_failed_total") + dropped,
            ),
            ("answered = answers of 200", of("gap_answered_total"), ended("200")),
            ("failed = answers of 500", of("gap_failed_total"), ended("500")),
            (
                "dropped for their deadline = answers of 504",
                of("gap_dropped_total", cause="deadline_passed"),
                ended("504"),
            ),
            (
                "refused or dropped while draining = answers of 503",
                refused + of("gap_dropped_total", cause="draining"),
                ended("503"),
            ),
            ("slots occupied at rest = 0", of("gap_occupied_slots"), 0),
            ("requests that wait at rest = 0", of("gap_queue_requests"), 0),
            ("tokens that wait at rest = 0", of("gap_queue_tokens"), 0),
        ):
            if left != right:
                found.append(f"{task}: {name} does not hold: {left} and {right}")
    return found


def disagreements(before: Counts, after: Counts, outcomes: Iterable[Outcome]) -> list[str]:
    """Where a server counts other answers than its clients saw, but for those that left without looking.

    `outcomes` are all there were between `before` and `after`.
    """
    seen: Counter[tuple[str, str]] = Counter()
    unseen: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.answer is not None:
            seen[outcome.ask.route, str(outcome.answer.status)] += 1
        else:
            unseen[outcome.ask.route] += 1
    found = []
    for route in (route for routes in POSTS.values() for route in routes):
        statuses = {status for at, status in seen if at == route} | {"200", "422", "500", "503", "504"}
        for status in sorted(statuses - {"400"}):
            counted, earlier = (
                page.total("gap_requests_total", route=route, status=status) for page in (after, before)
            )
            counted -= earlier
            least = seen[route, status]
            if not least <= counted <= least + unseen[route]:
                found.append(
                    f"{route} counts {counted} answers of {status}, clients saw {least} "
                    f"and {unseen[route]} did not look"
                )
    return found
