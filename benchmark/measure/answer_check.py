"""A few requests to a server without load: right answers come before any measurement."""

import time
from itertools import islice
from typing import Any

import httpx

from benchmark.measure import loopback
from benchmark.measure.processes import READY_TIMEOUT_S, ProcessFailed, Server
from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import unique

CHECKED_REQUESTS = 5


def check_answers(
    server: Server, task: str, *, check_labels: bool, seed: int = 0, texts_per_request: int = 1
) -> list[dict[str, Any]]:
    """Sends CHECKED_REQUESTS requests one by one: each answer, less its score, and its latency in ms.

    Raises:
        ProcessFailed: an answer is wrong, or there is none.
    """
    batch = texts_per_request > 1
    texts = unique(task, seed, part="warmup")
    answers = []
    for _ in range(CHECKED_REQUESTS):
        samples = list(islice(texts, texts_per_request))
        started_s = time.perf_counter()
        try:
            answer = loopback.post(
                server.url + route(task, batch),
                content=request_body(samples, batch),
                headers={"Content-Type": "application/json"},
                timeout=READY_TIMEOUT_S,
            )
        except httpx.TransportError as error:
            raise ProcessFailed(f"{server.name} does not answer without load: {error!r}") from None
        latency_ms = (time.perf_counter() - started_s) * 1e3
        wrong = problem(
            task, answer.status_code, answer.content, samples, batch=batch, check_labels=check_labels
        )
        if wrong:
            raise ProcessFailed(f"{server.name} answers {task} wrongly without load: {wrong}")
        content = {key: value for key, value in answer.json().items() if key != "score"}
        answers.append({"answer": content, "latency_ms": latency_ms})
    return answers
