"""Sends a server requests made from its own OpenAPI page, valid and not, and checks its answers.

`python tests/fuzz_contract.py` writes a summary a server; the tests run a short form.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import typer
from conftest import SERVERS, serving

from benchmark.processes import Server
from benchmark.redis_server import running_redis

TESTS = Path(__file__).resolve().parent
# Of a route, in one round.
EXAMPLES = 100
LONGEST_ROUND_S = 300


def fuzz(server: Server, requests: int, first_seed: int, folder: Path) -> dict[str, Any]:
    """At least `requests` generated requests to `server`; the summary, and `output` where a check failed.

    One round after the other, each with a seed of its own: a long one runs out of new valid requests.
    """
    total: dict[str, Any] = {"server": server.name, "seeds": [], "generated_requests": 0, "seconds": 0.0}
    statuses: Counter[str] = Counter()
    failed = 0
    while total["generated_requests"] < requests:
        seed = first_seed + len(total["seeds"])
        found, counts, output = fuzz_once(server, min(requests, EXAMPLES), seed, folder)
        total["seeds"].append(seed)
        total["schemathesis"] = found["schemathesis_version"]
        total["generated_requests"] += found["test_cases"]["generated"]
        total["seconds"] = round(total["seconds"] + found["running_time"], 1)
        statuses.update(counts)
        failed += found["test_cases"]["unique_failures"] + found["test_cases"]["errored"]
        if output:
            total["output"] = output
            break
    total["answers_by_status"] = dict(sorted(statuses.items()))
    total["unforeseen_server_errors"] = sum(
        count for status, count in statuses.items() if status >= "500" and status not in ("503", "504")
    )
    total["failed_checks"] = failed
    return total


def fuzz_once(
    server: Server, examples: int, seed: int, folder: Path
) -> tuple[dict[str, Any], dict[str, int], str]:
    """schemathesis's report, the answers by status, and what it printed if that is not good news."""
    report, statuses = folder / "report.json", folder / "statuses.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(TESTS / "schemathesis.toml")]
    command += ["run", f"{server.url}/openapi.json", "--checks", "all", "--seed", str(seed)]
    command += ["--max-examples", str(examples), "--continue-on-failure"]
    command += ["--report", "json", "--report-json-path", str(report)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "SCHEMATHESIS_HOOKS": "fuzz_checks",
        "GAP_FUZZ_STATUSES": str(statuses),
    }
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST_ROUND_S
    )
    output = ended.stdout + ended.stderr if ended.returncode else ""
    if not report.is_file():
        raise SystemExit(f"error: schemathesis wrote no report: {output[-2_000:]}")
    return json.loads(report.read_text()), json.loads(statuses.read_text()), output


def main(
    requests: int = typer.Option(20_000, help="generated requests a server, at least"),
    servers: str = typer.Option(",".join(SERVERS), help="which, with commas"),
    seed: int = typer.Option(1, help="of the first round; the same seed, the same requests"),
    output: Path = typer.Option(Path("results/fuzz"), help="folder of the summaries"),
) -> None:
    """Fuzz servers on the embedded models; exit code 1 where a check failed."""
    output.mkdir(parents=True, exist_ok=True)
    failed = False
    with running_redis() as cache, tempfile.TemporaryDirectory() as scratch:
        for name in servers.split(","):
            folder = Path(scratch) / name
            folder.mkdir()
            with serving(name, folder, REDIS_URL=cache.url) as server:
                summary = fuzz(server, requests, seed, folder)
                summary["tracebacks_in_log"] = server.log_path.read_text().count("Traceback")
            (output / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n")
            print(summary.pop("output", ""), summary)
            failed |= summary["failed_checks"] != 0 or summary["tracebacks_in_log"] > 0
    raise SystemExit(int(failed))


if __name__ == "__main__":
    typer.run(main)
