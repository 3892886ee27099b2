"""Golden answers: what the idle server answers to the test texts before any fault."""

import itertools
from typing import Any

from benchmark.measure import loopback
from locustfiles.inputs import unique

# By task and number of beams, then by text: a translation, or a label and a score.
GoldenAnswers = dict[tuple[str, int], dict[str, Any]]

ROUTES = {"translation": "/translate", "sentiment": "/sentiment"}
BATCH_FIELDS = {"translation": "translations", "sentiment": "results"}
NUM_BEAMS = 3
# Small, so that the baseline answers a batch before its deadline on a busy machine as well.
BATCH_SIZE = 4
TIMEOUT_S = 120.0
# One in LONG_TEXT_INTERVAL texts to translate is LONG_TEXT_SIZE joined, which takes many decode steps.
LONG_TEXT_INTERVAL = 20
LONG_TEXT_SIZE = 8
# Scores of the same text differ by rounding only; those of two texts by more.
SCORE_TOLERANCE = 1e-4


def read_golden_answers(url: str, counts: dict[str, int], beam_search_texts: int, seed: int) -> GoldenAnswers:
    """The answers to `counts` texts of each task, and to some by beam search. Raises httpx.HTTPError."""
    texts = {
        task: [one.text for one in itertools.islice(unique(task, seed), counts[task])] for task in ROUTES
    }
    translated = texts["translation"]
    for start in range(0, len(translated) - LONG_TEXT_SIZE, LONG_TEXT_INTERVAL):
        translated[start] = " ".join(translated[start : start + LONG_TEXT_SIZE])
    return {
        ("translation", 1): read_answers(url, "translation", translated),
        ("translation", NUM_BEAMS): read_answers(
            url, "translation", translated[:beam_search_texts], num_beams=NUM_BEAMS
        ),
        ("sentiment", 1): read_answers(url, "sentiment", texts["sentiment"]),
    }


def read_answers(url: str, task: str, texts: list[str], **options: int) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for start in range(0, len(texts), BATCH_SIZE):
        batch = texts[start : start + BATCH_SIZE]
        content = {"texts": batch, **options}
        response = loopback.post(f"{url}{ROUTES[task]}/batch", json=content, timeout=TIMEOUT_S)
        response.raise_for_status()
        answers.update(zip(batch, response.json()[BATCH_FIELDS[task]], strict=True))
    return answers


def response_body(task: str, answers: list[Any], batch: bool) -> Any:
    """The JSON of a 200 with these answers."""
    if batch:
        return {BATCH_FIELDS[task]: answers}
    return {"translation": answers[0]} if task == "translation" else answers[0]


def same(golden: Any, body: Any) -> bool:
    """Whether two JSON values are equal, apart from the rounding of scores."""
    if isinstance(golden, dict) and isinstance(body, dict):
        return golden.keys() == body.keys() and all(same(golden[key], body[key]) for key in golden)
    if isinstance(golden, list) and isinstance(body, list):
        return len(golden) == len(body) and all(map(same, golden, body))
    if isinstance(golden, float) and isinstance(body, float):
        return abs(golden - body) <= SCORE_TOLERANCE
    return bool(golden == body)
