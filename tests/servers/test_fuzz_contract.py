"""A short form of `make fuzz`: requests generated from each server's OpenAPI page, with every check on."""

from pathlib import Path
from typing import Any

from fuzz_contract import fuzz

from benchmark.measure.processes import Server

EXAMPLES = 20
SEED = 11
LEAST_REQUESTS = 200


def test_every_answer_is_as_described(server: Server, tmp_path: Path) -> None:
    summary: dict[str, Any] = {}
    fuzz(server, EXAMPLES, SEED, tmp_path, summary)
    assert summary["failed_checks"] == 0, summary.get("output", "")[-6_000:]
    assert summary["generated_requests"] >= LEAST_REQUESTS
    assert summary["unforeseen_server_errors"] == 0
    assert {"200", "422"} <= set(summary["answers_by_status"])
    assert "Traceback" not in server.log_path.read_text()
