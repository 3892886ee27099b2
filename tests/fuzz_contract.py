"""Sends a server requests made from its own OpenAPI page, valid and not, and checks its answers.

`python tests/fuzz_contract.py` writes a summary a server; the tests run a short form.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import typer
from conftest import SERVERS, serving

from benchmark.processes import Server
from benchmark.redis_server import running_redis

TESTS = Path(__file__).resolve().parent
# The routes that take a body: as good as all requests are theirs.
BODY_ROUTES = 4
LONGEST_RUN_S = 2_400


def fuzz(server: Server, requests: int, seed: int, folder: Path) -> dict[str, Any]:
    """Some `requests` generated requests to `server`; the summary, and `output` where a check failed."""
    report, statuses = folder / "report.json", folder / "statuses.json"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(TESTS / "schemathesis.toml")]
    command += ["run", f"{server.url}/openapi.json", "--checks", "all", "--seed", str(seed)]
    command += ["--max-examples", str(requests // BODY_ROUTES), "--continue-on-failure"]
    command += ["--report", "json", "--report-json-path", str(report)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "SCHEMATHESIS_HOOKS": "fuzz_checks",
        "GAP_FUZZ_STATUSES": str(statuses),
    }
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST_RUN_S
    )
    if not report.is_file():
        return {"server": server.name, "failed_checks": None, "output": ended.stdout + ended.stderr}
    found = json.loads(report.read_text())
    counts = json.loads(statuses.read_text())
    return {
        "server": server.name,
        "schemathesis": found["schemathesis_version"],
        "seed": seed,
        "seconds": round(found["running_time"], 1),
        "generated_requests": found["test_cases"]["generated"],
        "answers": sum(counts.values()),
        "answers_by_status": counts,
        "unforeseen_server_errors": sum(
            count for status, count in counts.items() if int(status) >= 500 and status not in ("503", "504")
        ),
        "failed_checks": found["test_cases"]["unique_failures"] + found["test_cases"]["errored"],
        "complete": found["complete"],
        **({} if ended.returncode == 0 else {"output": ended.stdout + ended.stderr}),
    }


def main(
    requests: int = typer.Option(20_000, help="generated requests a server, about"),
    servers: str = typer.Option(",".join(SERVERS), help="which, with commas"),
    seed: int = typer.Option(7, help="the same seed, the same requests"),
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
