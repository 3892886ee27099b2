"""Sends a server requests made from its own OpenAPI page, valid and not, and checks its answers.

`python tests/servers/fuzz_contract.py` writes a summary a server; the tests run a short form.
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

from benchmark.measure.processes import Server
from benchmark.measure.redis_server import running_redis

TESTS = Path(__file__).resolve().parent
# Of a route, in one round.
EXAMPLES = 100
LONGEST_ROUND_S = 300
# Documented refusals: not ready or overloaded, and a deadline that passed.
FORESEEN = ("503", "504")


def fuzz(server: Server, examples: int, seed: int, folder: Path, total: dict[str, Any]) -> None:
    """One round of generated requests, added to the summary `total`; `output` is there if a check failed.

    Many rounds with seeds of their own are better than a long one, which runs out of new valid requests.
    """
    found, statuses, output = fuzz_once(server, examples, seed, folder)
    counts = Counter(total.get("answers_by_status", {})) + Counter(statuses)
    unforeseen = [status for status in counts if status >= "500" and status not in FORESEEN]
    total["server"] = server.name
    total["schemathesis"] = found["schemathesis_version"]
    total["seeds"] = [*total.get("seeds", []), seed]
    total["seconds"] = round(total.get("seconds", 0.0) + found["running_time"], 1)
    total["generated_requests"] = total.get("generated_requests", 0) + found["test_cases"]["generated"]
    total["answers_by_status"] = dict(sorted(counts.items()))
    total["unforeseen_server_errors"] = sum(counts[status] for status in unforeseen)
    cases = found["test_cases"]
    total["failed_checks"] = total.get("failed_checks", 0) + cases["unique_failures"] + cases["errored"]
    if output:
        total["output"] = output


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
        "PYTHONPATH": str(TESTS.parent / "helpers"),
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
    output: Path = typer.Option(Path("results/fuzz"), help="folder of the summaries"),
) -> None:
    """Fuzz servers on the embedded models, seed after seed; an interrupted run goes on where it ended.

    Exits with 1 where a check failed or a server logged a traceback.
    """
    output.mkdir(parents=True, exist_ok=True)
    failed = False
    with running_redis() as cache, tempfile.TemporaryDirectory() as scratch:
        for name in servers.split(","):
            path, folder = output / f"{name}.json", Path(scratch) / name
            folder.mkdir()
            total = json.loads(path.read_text()) if path.is_file() else {}
            before = total.get("tracebacks_in_log", 0)
            with serving(name, folder, REDIS_URL=cache.url) as server:
                while total.get("generated_requests", 0) < requests and "output" not in total:
                    fuzz(server, EXAMPLES, len(total.get("seeds", [])) + 1, folder, total)
                    total["tracebacks_in_log"] = before + server.log_path.read_text().count("Traceback")
                    path.write_text(json.dumps(total, indent=1) + "\n")
            print(total.pop("output", ""), total, flush=True)
            failed |= total["failed_checks"] != 0 or total["tracebacks_in_log"] > 0
    raise SystemExit(int(failed))


if __name__ == "__main__":
    typer.run(main)
