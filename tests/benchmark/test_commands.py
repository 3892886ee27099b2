"""The command line: options are checked before anything starts, and errors are one line and an exit code."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from conftest import EMBEDDED
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.commands.options import MAX, Count, Workload, comma_list
from benchmark.commands.output import one_line_errors
from benchmark.commands.session import RunOptions
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.records import WORKLOADS, RunNotFound


def invoke(*arguments: object) -> tuple[int, str]:
    """The exit code and the output, on one line."""
    ended = CliRunner().invoke(app, [*map(str, arguments)])
    assert "Traceback" not in ended.output
    return ended.exit_code, " ".join(ended.output.split())


@pytest.mark.parametrize("command", typer.main.get_command(app).commands.values())  # type: ignore[attr-defined]
def test_each_command_and_option_has_a_help_text(command: Any) -> None:
    assert invoke(command.name, "--help")[0] == 0
    assert 0 < len(command.help.splitlines()[0]) <= 45, "longer ones are cut in the list of commands"
    assert not [one.name for one in command.params if not one.help]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --servers best", "'--servers': 'best': Input should be 'baseline', "),
        ("run --tasks ,", "'--tasks': ',': List should have at least 1 item"),
        ("run --users ten", "'--users': 'ten': Input should be a valid integer"),
        ("run --users 0", "'--users': '0': Input should be greater than or equal to 1"),
        ("run --workloads unique:99", "'--workloads': '99': Input should be less than or equal to 64"),
        ("run --workloads chess", "'--workloads': 'chess': Input should be 'unique', 'zipf'"),
        ("run --duration 0", "'--duration': Input should be greater than or equal to 1"),
        ("ladder --users 1,,x", "'--users': 'x'"),
        ("open-loop --rates 0,1", "'--rates': '0': Input should be greater than 0"),
        ("open-loop --task sums", "'sums' is not one of"),
        ("open-loop --multiples nan", "'--multiples': 'nan'"),
        ("capacity --tasks chess", "'--tasks': 'chess': Input should be"),
        ("head-of-line-blocking --server best", "'best' is not one of"),
        ("offline-throughput --batch-sizes 0.5", "'--batch-sizes': '0.5': Input should be a valid integer"),
        (
            "batch-timeline --models nowhere",
            "nowhere holds no models; prepare it with `python optimize_model.py --output nowhere`",
        ),
        ("soak --models nowhere", "optimize_model.py"),
        ("offline-throughput --models nowhere", "optimize_model.py"),
        ("ladder --models nowhere", "optimize_model.py"),
        ("plot", "no run under"),
        ("report nowhere", "nowhere holds no run.json"),
    ],
)
def test_a_bad_option_is_one_clear_line(tmp_path: Path, arguments: str, message: str) -> None:
    command, *options = arguments.split()
    if "--models" not in options and command not in ("plot", "report"):
        options += ["--models", str(EMBEDDED)]
    code, output = invoke(command, *options, "--results", tmp_path)
    assert code != 0 and message in output
    assert not list(tmp_path.iterdir())


@given(st.lists(st.integers(1, MAX), min_size=1), st.sampled_from([",", ", ", " ,,"]))
def test_a_comma_list_holds_each_item_once_in_its_order(numbers: list[int], separator: str) -> None:
    parse = comma_list(Count, "").parser
    assert parse(separator.join(map(str, numbers))) == tuple(dict.fromkeys(numbers))
    assert parse(tuple(numbers)) == tuple(numbers)


@given(st.sampled_from(WORKLOADS), st.integers(1, 64))
def test_a_workload_is_a_name_and_texts_per_request(name: str, texts: int) -> None:
    parse = comma_list(Workload, "").parser
    assert parse(f"{name}:{texts},{name}") == tuple(dict.fromkeys([(name, texts), (name, 1)]))


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ProcessFailed("optimized did not start"), 1, "error: optimized did not start; to resume: X"),
        (RunNotFound("no run"), 1, "error: no run; to resume: X"),
        (httpx.ReadError("closed"), 1, "error: closed; to resume: X"),
        (OSError(28, "No space left"), 1, "cannot write the results under here: No space left; to resume: X"),
        (KeyboardInterrupt(), 130, "interrupted; what was measured before is kept; to resume: X"),
    ],
)
def test_an_error_is_one_line_that_says_how_to_resume(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    with pytest.raises(typer.Exit) as ended, one_line_errors(Path("here"), "; to resume: X"):
        raise error
    assert ended.value.exit_code == code
    printed = capsys.readouterr()
    output, other = (printed.out, printed.err) if code == 130 else (printed.err, printed.out)
    assert line in output and "\n" not in output.strip() and not other


def test_a_programming_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors(Path("here")):
        _ = 1 / 0


def test_a_run_is_named_by_its_user_or_after_what_it_measures(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"source": "random"}))
    with RunOptions(models=tmp_path, results=tmp_path).run_folder("overload") as folder:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-overload-random", folder.name)
    with RunOptions(models=tmp_path, name="mine", results=tmp_path).run_folder("overload") as folder:
        assert folder == tmp_path / "mine"
