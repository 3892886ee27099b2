"""Head-of-line blocking: p95 of the same short requests without long ones, and among them.

In results/<run>/head_of_line_blocking/:
<server>-translation.json                               figures of every round
<server>-translation-<short|mixed>-<n>.requests.csv.xz  one row a request
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice
from statistics import mean, median
from typing import Any

import sentencepiece

from benchmark.measure.configurations import MODEL_FORMATS
from benchmark.measure.target import Offered, Target
from benchmark.runs.records import write_json
from benchmark.stats.formatting import format_ms
from locustfiles.inputs import unique

FOLDER = "head_of_line_blocking"
TASK = "translation"
KINDS = ("short", "mixed")
COUNTED_TEXTS = 200


def texts_in_a_long_one(target: Target, long_tokens: int) -> int:
    """How many texts of the workload, joined, have about `long_tokens` of the model's source tokens."""
    folder = target.configuration.models_dir / TASK / MODEL_FORMATS[target.server]
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    lengths = [len(pieces.encode(sample.text)) for sample in islice(unique(TASK), COUNTED_TEXTS)]
    return max(2, round(long_tokens / mean(lengths)))


def measure_blocking(
    target: Target, mixed: Offered, repeats: int, print_line: Callable[[str], None]
) -> dict[str, Any]:
    """Rounds of `mixed` and of its short requests alone in turn, each on a fresh server.

    An open loop: the same short requests come at the same moments in both, where in a closed loop the users
    whose texts are long would hold back the short ones that they are to disturb.

    Raises:
        ProcessFailed: a server or the load generator failed, or a server answered wrongly without load.
    """
    offered = {"short": replace(mixed, only_short=True), "mixed": mixed}
    rounds: list[dict[str, Any]] = []
    record: dict[str, Any] = {"server": target.server, "load": asdict(mixed), **target.context()}
    for number in range(1, repeats + 1):
        by_kind = {}
        for kind in KINDS if number % 2 else KINDS[::-1]:
            stem = f"{target.name}-{kind}-{number}"
            with target.serving(stem) as server:
                target.check_answers(server, mixed.seed)
                requests = target.offer(server, offered[kind], stem)
            by_kind[kind] = {
                "long" if long else "short": mixed.figures(part) for long, part in requests.groupby("long")
            }
            lines = [
                f"{part['requests']} {name}, {part['right']} right, p50 {format_ms(part['p50_ms'])}, "
                f"p95 {format_ms(part['p95_ms'])}"
                for name, part in by_kind[kind].items()
            ]
            print_line(f"{kind}, round {number}: {'; '.join(lines)}")
        rounds.append(by_kind)
        record |= {"rounds": rounds, "figures": ratios(rounds)}
        write_json(target.record_path, record)
    return record


def ratios(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """p95 in ms of the short requests without and among the long ones, and its ratio: medians of the rounds.

    None where a round has too few requests.
    """
    pairs = [tuple(one[kind]["short"]["p95_ms"] for kind in KINDS) for one in rounds]
    if any(value is None for pair in pairs for value in pair):
        return {"short_p95_ms": None, "mixed_p95_ms": None, "p95_ratio": None}
    return {
        "short_p95_ms": median(alone for alone, _ in pairs),
        "mixed_p95_ms": median(among for _, among in pairs),
        "p95_ratio": median(among / alone for alone, among in pairs),
    }
