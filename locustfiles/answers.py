"""What a right answer looks like: every answer is checked, and a wrong one counts as a failure."""

import json
from collections.abc import Sequence
from typing import Any

from locustfiles.inputs import Sample

LABELS = ("POSITIVE", "NEGATIVE")
LONGEST_DETAIL = 120


def route(task: str, batch: bool) -> str:
    """The path of the HTTP contract that does `task` for one text or for a batch."""
    path = {"translation": "/translate", "sentiment": "/sentiment"}[task]
    return f"{path}/batch" if batch else path


def request_body(samples: Sequence[Sample], batch: bool) -> str:
    """The JSON body that asks for `samples`: all of them in a batch, else the only one."""
    body = {"texts": [sample.text for sample in samples]} if batch else {"text": samples[0].text}
    return json.dumps(body)


def problem(
    task: str,
    status: int,
    content: bytes,
    samples: Sequence[Sample],
    *,
    batch: bool,
    check_labels: bool,
) -> str | None:
    """What is wrong with an answer, or None.

    `check_labels` holds the label against the known polarity of a sample; only a trained model has one.
    """
    if status != 200:
        return f"HTTP {status}" if status else "no answer"
    try:
        answer = json.loads(content)
    except ValueError:
        return "not JSON"
    try:
        if task == "translation":
            answers: list[Any] = answer["translations"] if batch else [answer["translation"]]
        else:
            answers = answer["results"] if batch else [answer]
        if len(answers) != len(samples):
            return f"{len(answers)} answers to {len(samples)} texts"
        check = _translation_problem if task == "translation" else _sentiment_problem
        for item, sample in zip(answers, samples, strict=True):
            found = check(item, sample, check_labels)
            if found is not None:
                return found
    except (KeyError, TypeError):
        return "wrong shape"
    return None


def _translation_problem(item: Any, sample: Sample, check_labels: bool) -> str | None:
    if not isinstance(item, str):
        return "wrong shape"
    return None if item.strip() else "empty translation"


def _sentiment_problem(item: Any, sample: Sample, check_labels: bool) -> str | None:
    label, score = item["label"], item["score"]
    if label not in LABELS or not isinstance(score, float | int) or not 0 <= score <= 1:
        return "wrong shape"
    if check_labels and sample.label is not None and label != sample.label:
        return f"label {label} where {sample.label} is certain"
    return None
