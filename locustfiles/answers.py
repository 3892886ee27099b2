"""Requests by the HTTP contract, and the check of their answers; a wrong answer counts as a failure."""

import json
from collections.abc import Sequence
from typing import Any

from locustfiles.inputs import Sample

LABELS = ("POSITIVE", "NEGATIVE")


def route(task: str, batch: bool) -> str:
    """The path of `task` for one text or for a batch."""
    path = {"translation": "/translate", "sentiment": "/sentiment"}[task]
    return f"{path}/batch" if batch else path


def request_body(samples: Sequence[Sample], batch: bool) -> str:
    """The JSON body for `samples`: all of them in a batch, else the only one."""
    body = {"texts": [sample.text for sample in samples]} if batch else {"text": samples[0].text}
    return json.dumps(body)


def problem(
    task: str, status: int, content: bytes, samples: Sequence[Sample], *, batch: bool, check_labels: bool
) -> str | None:
    """What is wrong with an answer, or None.

    `check_labels` compares labels with the known polarity of a sample, which only a trained model finds.
    """
    if status != 200:
        return f"HTTP {status}" if status else "no answer"
    try:
        answer = json.loads(content)
        if task == "translation":
            answers: list[Any] = answer["translations"] if batch else [answer["translation"]]
        else:
            answers = answer["results"] if batch else [answer]
        if len(answers) != len(samples):
            return f"{len(answers)} answers to {len(samples)} texts"
        check = _translation_problem if task == "translation" else _sentiment_problem
        problems = (check(*pair, check_labels) for pair in zip(answers, samples, strict=True))
        return next(filter(None, problems), None)
    except ValueError:
        return "not JSON"
    except (KeyError, TypeError):
        return "wrong shape"


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
