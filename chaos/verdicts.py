"""What is wrong with an outcome, if anything is."""

from collections import Counter
from collections.abc import Callable, Iterable

from chaos.asks import LEFT_EARLY
from chaos.clients import Outcome
from chaos.texts import Known

WRONG, LOST, SURPLUS, UNEXPECTED = "wrong answer", "lost answer", "surplus answer", "unexpected status"
LONGEST_SHOWN = 300
# Of requests with nothing odd about them and no fault near: the rest may be refused or late, if it is told.
LEAST_ANSWERED = 0.9

Excused = Callable[[str, float, float], bool]


def breach(outcome: Outcome, known: Known, excused: Excused) -> tuple[str, str] | None:
    """The kind of breach and what was seen; None if all is as it should be.

    `excused` says whether a fault of the engine was near a request of a task between two times.
    """
    ask, answer = outcome.ask, outcome.answer
    if outcome.surplus:
        return SURPLUS, shown(outcome.surplus)
    if answer is None:
        if ask.mute or (ask.manner in LEFT_EARLY and not outcome.lost.startswith("no ")):
            return None
        return LOST, outcome.lost
    if answer.status == 200 and ask.texts and not ask.poisoned:
        right = known.right(ask.task, ask.num_beams, ask.texts, answer.json(), ask.batch)
        return None if right else (WRONG, f"{ask.texts[0]!r} was answered {shown(answer.body)}")
    if answer.status == 500:
        if not ask.poisoned and not excused(ask.task, outcome.sent_s, outcome.ended_s):
            return UNEXPECTED, "500 without an injected fault"
        fixed = answer.json() == {"detail": "internal server error"}
        return None if fixed else (UNEXPECTED, f"500 says {shown(answer.body)}")
    if answer.status not in ask.statuses:
        return UNEXPECTED, f"{answer.status} {shown(answer.body)}"
    if answer.status == 503 and "retry-after" not in answer.headers:
        return UNEXPECTED, "503 without Retry-After"
    if answer.status != 200 and not ask.raw and "detail" not in (answer.json() or {}):
        return UNEXPECTED, f"{answer.status} without detail: {shown(answer.body)}"
    return None


def unanswered(outcomes: Iterable[Outcome], excused: Excused) -> str | None:
    """Whether too many plain requests were refused or late."""
    statuses: Counter[int] = Counter(
        outcome.answer.status
        for outcome in outcomes
        if outcome.answer is not None
        and outcome.ask.kind == "valid"
        and not excused(outcome.ask.task, outcome.sent_s, outcome.ended_s)
    )
    if statuses[200] >= LEAST_ANSWERED * statuses.total():
        return None
    return f"of {statuses.total()} plain requests away from faults {statuses[200]} were answered 200"


def shown(data: bytes) -> str:
    return repr(data[:LONGEST_SHOWN])
