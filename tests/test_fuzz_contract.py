"""A short form of `make fuzz`: requests generated from each server's OpenAPI page, with every check on."""

from pathlib import Path

from fuzz_contract import fuzz

from benchmark.processes import Server

REQUESTS = 30
SEED = 11


def test_every_answer_is_as_described(server: Server, tmp_path: Path) -> None:
    summary = fuzz(server, REQUESTS, SEED, tmp_path)
    assert summary["failed_checks"] == 0, summary.get("output", "")[-6_000:]
    assert summary["generated_requests"] > REQUESTS
    assert summary["unforeseen_server_errors"] == 0
    assert {"200", "422"} <= set(summary["answers_by_status"])
    assert "Traceback" not in server.log_path.read_text()
