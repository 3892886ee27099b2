"""A wrong answer is seen, whatever is wrong with it."""

import json

import pytest

from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import Sample

ONE = [Sample("good", "POSITIVE")]
TWO = [Sample("good", "POSITIVE"), Sample("so so")]
GOOD = {"label": "POSITIVE", "score": 0.9}
BAD = {"label": "NEGATIVE", "score": 0.9}


def check(
    task: str, answer: object, samples: list[Sample], status: int = 200, labels: bool = True
) -> str | None:
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return problem(task, status, content, samples, batch=len(samples) > 1, check_labels=labels)


def test_right_answers_have_no_problem() -> None:
    assert check("translation", {"translation": "gut"}, ONE) is None
    assert check("translation", {"translations": ["gut", "so la la"]}, TWO) is None
    assert check("sentiment", GOOD, ONE) is None
    assert check("sentiment", {"results": [GOOD, BAD]}, TWO) is None
    assert check("sentiment", BAD, ONE, labels=False) is None


@pytest.mark.parametrize(
    ("task", "answer", "samples", "status", "found"),
    [
        ("translation", {"translation": "gut"}, ONE, 503, "HTTP 503"),
        ("translation", {}, ONE, 0, "no answer"),
        ("translation", b"<html>", ONE, 200, "not JSON"),
        ("translation", {"translation": "  "}, ONE, 200, "empty translation"),
        ("translation", {"translation": None}, ONE, 200, "wrong shape"),
        ("translation", {"text": "gut"}, ONE, 200, "wrong shape"),
        ("translation", ["gut"], ONE, 200, "wrong shape"),
        ("translation", {"translations": ["gut"]}, TWO, 200, "1 answers to 2 texts"),
        ("sentiment", BAD, ONE, 200, "label NEGATIVE where POSITIVE is certain"),
        ("sentiment", {"results": [BAD, GOOD]}, TWO, 200, "label NEGATIVE where POSITIVE is certain"),
        ("sentiment", {"label": "NEUTRAL", "score": 0.9}, ONE, 200, "wrong shape"),
        ("sentiment", {"label": "POSITIVE", "score": 1.5}, ONE, 200, "wrong shape"),
        ("sentiment", {"label": "POSITIVE", "score": None}, ONE, 200, "wrong shape"),
        ("sentiment", {"label": "POSITIVE"}, ONE, 200, "wrong shape"),
    ],
)
def test_a_wrong_answer_is_named(
    task: str, answer: object, samples: list[Sample], status: int, found: str
) -> None:
    assert check(task, answer, samples, status) == found


def test_requests_follow_the_contract() -> None:
    assert route("translation", batch=False) == "/translate"
    assert route("sentiment", batch=True) == "/sentiment/batch"
    assert json.loads(request_body(ONE, batch=False)) == {"text": "good"}
    assert json.loads(request_body(TWO, batch=True)) == {"texts": ["good", "so so"]}
