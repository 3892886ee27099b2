"""Texts with known right answers: asked of the quiet server before anything goes wrong."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from benchmark.measure import loopback
from locustfiles.inputs import unique

ROUTES = {"translation": "/translate", "sentiment": "/sentiment"}
RESULTS = {"translation": "translations", "sentiment": "results"}
# Of a text that runs raise on; no other text is like it.
POISON = {"translation": "Nobody can translate this one here.", "sentiment": "nobody can judge this one here"}
NUM_BEAMS = 3
# One of so many translations is of a text of so many others: it takes as long to encode as many steps.
LONG_SHARE = 20
LONG_TEXTS = 8
TIMEOUT_S = 120.0
# A score of another text is another one; that of the same text differs by rounding at the most.
SCORE_TOLERANCE = 1e-4
ASKED_AT_ONCE = 16


@dataclass(frozen=True)
class Known:
    """The right answers, by task, number of beams and text; a translation, or a label and score."""

    answers: dict[tuple[str, int], dict[str, Any]]

    def texts(self, task: str, num_beams: int = 1) -> list[str]:
        return [*self.answers[task, num_beams]]

    def right(self, task: str, num_beams: int, texts: Sequence[str], body: Any, batch: bool) -> bool:
        """Whether the JSON `body` of a 200 answers these texts, in order."""
        if not isinstance(body, dict):
            return False
        if batch:
            found = body.get(RESULTS[task])
        else:
            found = [body.get("translation") if task == "translation" else body]
        if not isinstance(found, list) or len(found) != len(texts):
            return False
        expected = self.answers[task, num_beams]
        return all(same(expected[text], one) for text, one in zip(texts, found, strict=True))


def same(expected: Any, found: Any) -> bool:
    if isinstance(expected, str):
        return bool(expected == found)
    try:
        off = abs(expected["score"] - found["score"])
        return bool(found["label"] == expected["label"] and off <= SCORE_TOLERANCE)
    except (KeyError, TypeError):
        return False


def learn(url: str, counts: dict[str, int], beams: int, seed: int) -> Known:
    """Asks a quiet server for `counts` texts of each task, and `beams` of them by beam search as well.

    Raises:
        httpx.HTTPError: it does not answer all of them.
    """
    answers: dict[tuple[str, int], dict[str, Any]] = {}
    with loopback.Client(base_url=url, timeout=TIMEOUT_S) as client:
        for task, count in counts.items():
            texts = [sample.text for sample in itertools.islice(unique(task, seed), count)]
            if task == "translation":
                for at in range(0, count - LONG_TEXTS, LONG_SHARE):
                    texts[at] = " ".join(texts[at : at + LONG_TEXTS])
            answers[task, 1] = ask(client, task, texts)
        texts = [*answers["translation", 1]][:beams]
        answers["translation", NUM_BEAMS] = ask(client, "translation", texts, num_beams=NUM_BEAMS)
    return Known(answers)


def ask(client: httpx.Client, task: str, texts: list[str], **options: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for at in range(0, len(texts), ASKED_AT_ONCE):
        part = texts[at : at + ASKED_AT_ONCE]
        answer = client.post(f"{ROUTES[task]}/batch", json={"texts": part, **options})
        answer.raise_for_status()
        found.update(zip(part, answer.json()[RESULTS[task]], strict=True))
    return found
