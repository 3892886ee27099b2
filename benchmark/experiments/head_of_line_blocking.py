"""What long texts do to short ones: the same short requests without the long ones, then among them.

results/<run>/mix/<server>-translation.json                              figures of every round
results/<run>/mix/<server>-translation-<short|mixed>-<n>.requests.csv.xz  one row a request
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from statistics import mean, median
from typing import Any

import pandas as pd
import sentencepiece

from benchmark.measure.configurations import MODEL_FORMATS
from benchmark.measure.target import Offered, Target
from benchmark.runs.environment import environment_record
from benchmark.runs.records import write_json
from benchmark.stats.formatting import format_ms
from benchmark.stats.open_loop import COLUMNS, figures
from locustfiles.inputs import unique

FOLDER = "mix"
TASK = "translation"
KINDS = ("short", "mixed")
COUNTED_TEXTS = 200


@dataclass(frozen=True)
class Mix:
    """`rate` requests a second, `long_share` of them with texts of about `long_tokens`; rounds of both."""

    rate: float
    long_share: float
    long_tokens: int
    repeats: int
    duration_s: float
    warmup_s: float
    limit_ms: int
    seed: int = 0


def texts_in_a_long_one(target: Target, long_tokens: int) -> int:
    """How many texts of the workload, joined, have about `long_tokens` of the model's source tokens."""
    folder = target.models_dir / TASK / MODEL_FORMATS[target.server]
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    lengths = [len(pieces.encode(sample.text)) for sample in islice(unique(TASK), COUNTED_TEXTS)]
    return max(2, round(long_tokens / mean(lengths)))


def measure_mix(target: Target, mix: Mix, say: Callable[[str], None]) -> dict[str, Any]:
    """Rounds of both kinds in turn, each on a fresh server.

    An open loop: the same short requests come at the same moments in both, where in a closed loop the users
    whose texts are long would hold back the short ones that they are to disturb.

    Raises:
        ProcessFailed: a server or the load generator failed, or a server answered wrongly unloaded.
    """
    target.folder.mkdir(parents=True, exist_ok=True)
    long_texts = texts_in_a_long_one(target, mix.long_tokens)
    offered = Offered(
        mix.rate,
        mix.duration_s,
        mix.warmup_s,
        mix.limit_ms,
        seed=mix.seed,
        long_share=mix.long_share,
        long_texts=long_texts,
    )
    record: dict[str, Any] = {
        "server": target.server,
        "mix": asdict(mix),
        "long_texts": long_texts,
        "rounds": [],
        "figures": None,
        "model": target.model,
        "environment": environment_record(target.cores, {}),
    }
    for number in range(1, mix.repeats + 1):
        found = {}
        for kind in KINDS if number % 2 else KINDS[::-1]:
            stem = f"{target.name}-{kind}-{number}"
            with target.serving(target.folder / f"{stem}.server.log") as server:
                target.ask(server, mix.seed)
                target.offer(server, replace(offered, only_short=kind == "short"), stem)
            requests = pd.read_csv(target.folder / f"{stem}.requests.csv.xz", dtype=COLUMNS)
            parts = {"short": requests[~requests["long"]], "long": requests[requests["long"]]}
            found[kind] = {
                name: figures(part, mix.duration_s, mix.limit_ms) for name, part in parts.items() if len(part)
            }
            say(
                f"{kind}, round {number}: "
                + "; ".join(
                    f"{one['requests']} {name}, {one['right']} right, p50 {format_ms(one['p50_ms'])}, "
                    f"p95 {format_ms(one['p95_ms'])}"
                    for name, one in found[kind].items()
                )
            )
        record["rounds"].append(found)
        record["figures"] = ratios(record["rounds"])
        write_json(target.folder / f"{target.name}.json", record)
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
