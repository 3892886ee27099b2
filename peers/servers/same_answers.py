"""Whether a server gives, in batches, the answers that its engine gives to each text alone."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from benchmark.measure import loopback
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import ROOT
from locustfiles.inputs import unique
from peers.environments import python_of
from peers.servers.configuration import PeerConfiguration, PeerServer

TEXTS = 32
TIMEOUT_S = 300.0
# INT8 rounds a value near a tie differently in another batch: a few answers of a hundred may be others.
LEAST_SHARE = 0.9
COMPARED = {"sentiment": "label", "translation": "translation"}


def share_of_same_answers(configuration: PeerConfiguration, server: PeerServer) -> float:
    """The share of TEXTS texts, sent at once, with the same label or translation as from the engine alone.

    Raises:
        ProcessFailed: it is under LEAST_SHARE, or the engine alone failed.
    """
    texts = [sample.text for sample in islice(unique(configuration.task, part="warmup"), TEXTS)]
    key = COMPARED[configuration.task]
    with ThreadPoolExecutor(len(texts)) as threads:
        served = list(threads.map(lambda text: post(server, text)[key], texts))
    alone = [answer[key] for answer in answers_alone(configuration, texts)]
    share = sum(map(same, served, alone)) / len(texts)
    if share < LEAST_SHARE:
        raise ProcessFailed(f"{server.name}: {share:.0%} of its answers are those of its engine alone")
    return share


def same(served: str, alone: str) -> bool:
    """But for case and final punctuation, which LibreTranslate takes over from the source text."""
    one, other = (answer.casefold().rstrip(".!? ") for answer in (served, alone))
    return one == other


def post(server: PeerServer, text: str) -> dict[str, Any]:
    answer = loopback.post(server.url + server.route, json={"text": text}, timeout=TIMEOUT_S)
    if answer.status_code != 200:
        raise ProcessFailed(f"{server.name} answers with HTTP {answer.status_code}: {answer.text[:200]}")
    return answer.json()


def answers_alone(configuration: PeerConfiguration, texts: list[str]) -> list[dict[str, Any]]:
    """The answers of the engine in the environment of its system, without a server."""
    command = [str(python_of(configuration.system.requirements)), "-m", "peers.servers.engine_alone"]
    variables = configuration.variables("")
    ended = subprocess.run(
        command, input=json.dumps(texts), cwd=ROOT, env=variables, capture_output=True, text=True
    )
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["no output"])[-1]
        raise ProcessFailed(f"{configuration.server}: its engine alone failed: {reason}")
    return json.loads(ended.stdout.splitlines()[-1])
