"""The README's tables of runs without cells: other engines in process, long texts among short ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.markdown import table

NOTHING = "Not measured."


def peers_table(reference: Path) -> str:
    """Every comparison with other engines in `reference`, one table a workload."""
    parts = []
    for path in sorted(reference.glob("*/peers.json")):
        record = json.loads(path.read_text())
        for lengths, found in record["workloads"].items():
            engines = found["engines"].items()
            parts.append(table([peer_row(name, engine, found["ratios"]) for name, engine in engines]))
            machine, cores = record["environment"]["machine"], record["environment"]["cores"]["server"]
            parts.append(
                f"{found['texts']:,} texts of {lengths} lengths ({found['source_tokens_min']} to "
                f"{found['source_tokens_max']} tokens) on {of_cores(len(cores))} of an {machine['cpu']}; "
                f"{record['model']['origin']}; {len(found['engines']['ours']['rounds'])} rounds in turn, in "
                f"brackets the least and the most; commit {record['environment']['commit']}. Every setting "
                f"that was tried: [{path.parent.name}](results/reference/{path.relative_to(reference)})."
            )
    return "\n\n".join(parts) or NOTHING


def peer_row(name: str, engine: dict[str, Any], ratios: dict[str, dict[str, float]]) -> dict[str, str]:
    ratio = ratios.get(name)
    times = f"{ratio['median']:.2f}x ({ratio['min']:.2f}x to {ratio['max']:.2f}x)" if ratio else "–"
    searched = len(engine["searched"])
    return {
        "engine": engine["title"],
        "version": engine["version"],
        "tokens a second": f"{engine['tokens_per_s']:,.0f}",
        "ours over it": times,
        "settings": ", ".join(f"{key} {value}" for key, value in engine["settings"].items())
        + f" (best of {searched})",
    }


def mix_table(reference: Path) -> str:
    """What long texts do to short ones, for every such run in `reference`."""
    rows = list(mix_rows(reference))
    return table(rows) if rows else NOTHING


def mix_rows(reference: Path) -> Iterator[dict[str, str]]:
    for path in sorted(reference.glob("*/mix/*.json")):
        record = json.loads(path.read_text())
        mix, found = record["mix"], record["figures"]
        batching = record["environment"]["server_settings"].get("GAP_TRANSLATION_BATCHING")
        server = record["server"].replace("_", " ")
        yield {
            "server": f"{server}, batches to their end" if batching == "request" else server,
            "requests/s": f"{mix['rate']:.0f}",
            "p95 of short texts alone, ms": f"{found['short_p95_ms']:,.0f}",
            "among long ones, ms": f"{found['mixed_p95_ms']:,.0f}",
            "ratio": f"{found['p95_ratio']:.2f}x",
            "rounds": str(len(record["rounds"])),
            "record": f"[{path.parent.parent.name}](results/reference/{path.relative_to(reference)})",
        }


def of_cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"
