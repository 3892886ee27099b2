"""Passwords in a Redis URL: in no error, log, record or report, of servers and benchmark."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import EMBEDDED, SERVERS
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmark.measure.processes import ProcessFailed
from benchmark.measure.redis_server import RedisProcess, redis_url, running_redis
from benchmark.runs.environment import ROOT, environment_record
from benchmark.runs.plan import Cores
from optimized.config import Settings
from optimized.web.settings import masked, read_settings

PASSWORD = "s3cretw0rd"
TIMEOUT_S = 120
WELL_FORMED = [
    f"redis://:{PASSWORD}@127.0.0.1:1/0",
    f"rediss://user:{PASSWORD}@127.0.0.1:1",
    f"redis://127.0.0.1:1/0?password={PASSWORD}",
]
MALFORMED = [
    f"http://user:{PASSWORD}@host",
    f"redis://:/{PASSWORD}@host",
    f"redis://:{PASSWORD}/@host",
    f"redis://:#{PASSWORD}@host:6379",
    f"redis://host:6379?passwort={PASSWORD}",
    f"redis://host:port?password={PASSWORD}@",
    f"user:{PASSWORD}@host:6379",
    f"redis//:{PASSWORD}@host",
]


@given(
    st.sampled_from(["redis://", "rediss://", "unix://", "http://", ""]),
    st.text(max_size=8),
    st.text(min_size=4, max_size=12),
    st.booleans(),
    st.sampled_from(
        ["{0}:{1}@h", ":{1}@h:6379/0", "{0}:{1}@h?db=1", "h?password={1}&a={0}", "h?a={0}&password={1}"]
    ),
)
def test_no_password_is_left_in_a_masked_url(
    scheme: str, user: str, password: str, encoded: bool, form: str
) -> None:
    written = quote(password, safe="") if encoded else password
    url = scheme + form.format(user, written)
    assume(written not in "redis://***@h:6379/0?***")
    assume(scheme or "://" not in user)
    assert written not in masked(url), url


def test_what_holds_no_password_stays_as_it_is() -> None:
    for value in (
        "many",
        "",
        "localhost:6379",
        "redis://h:6379/0",
        "/home/me/models",
        "Error 111 connecting",
    ):
        assert masked(value) == value
    assert masked("redis://u:p@h:6379/0?db=2") == "redis://***@h:6379/0?***"


@pytest.mark.parametrize("url", MALFORMED)
def test_a_bad_url_is_named_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(SystemExit) as error:
        read_settings(Settings)
    assert "REDIS_URL has the value '" in str(error.value) and PASSWORD not in str(error.value)
    with pytest.raises(ProcessFailed, match="REDIS_URL") as failed, redis_url():
        pass
    assert PASSWORD not in str(failed.value)


@pytest.mark.parametrize("url", WELL_FORMED)
def test_a_url_is_kept_out_of_settings_and_records(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAP_REDIS_URL", url)
    settings = read_settings(Settings)
    assert PASSWORD not in f"{settings!r} {settings} {settings.model_dump()}"
    assert settings.redis_url is not None
    assert PASSWORD in str(settings.redis_url.get_secret_value())
    assert PASSWORD not in str(environment_record(Cores((0,), (1,)), {}))
    with (
        pytest.raises(ProcessFailed, match=r"GAP_REDIS_URL rediss?://.* does not answer") as failed,
        redis_url(),
    ):
        pass
    assert PASSWORD not in str(failed.value)


@pytest.mark.parametrize("name", SERVERS)
def test_an_empty_variable_is_one_that_is_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = importlib.import_module(f"{name}.config").Settings
    defaults = settings()
    for field in settings.model_fields:
        monkeypatch.setenv(f"GAP_{field.upper()}", "")
    monkeypatch.setenv("REDIS_URL", "")
    assert read_settings(settings) == defaults


def test_the_other_variable_counts_where_one_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAP_REDIS_URL", "")
    monkeypatch.setenv("REDIS_URL", "http://host")
    with pytest.raises(SystemExit, match=r"^error: REDIS_URL has the value"):
        read_settings(Settings)


def with_password(server: RedisProcess) -> str:
    server.command("CONFIG", "SET", "requirepass", PASSWORD)
    return server.url.replace("redis://", f"redis://:{PASSWORD}@")


def bench(results: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmark", "run", "--models", str(EMBEDDED), "--results", str(results)]
    command += ["--servers", "optimized", "--tasks", "sentiment", "--users", "1", "--warmup", "0.5"]
    command += ["--duration", "1", "--max-duration", "1", "--load-generator-limit", "0"]
    environment = {**os.environ, "GAP_REDIS_URL": url}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )


def test_a_benchmark_writes_no_password_anywhere(tmp_path: Path) -> None:
    with running_redis() as server:
        ended = bench(tmp_path, url := with_password(server))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        ended_wrong = bench(tmp_path / "wrong", url.replace(PASSWORD, f"not-{PASSWORD}"))
    assert ended_wrong.returncode == 1 and "GAP_REDIS_URL redis://***@127.0.0.1" in ended_wrong.stderr
    texts = {"console": ended.stdout + ended.stderr, "wrong": ended_wrong.stdout + ended_wrong.stderr}
    texts |= {str(path): path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()}
    (report,) = (text for name, text in texts.items() if name.endswith("report.html"))
    records = [text for name, text in texts.items() if name.endswith(("run.json", "-r1.json"))]
    assert len(records) >= 2 and all('"GAP_REDIS_URL": "redis://***@' in record for record in records)
    assert [name for name, text in texts.items() if PASSWORD in text] == []
    assert "optimized" in report


def test_the_server_of_a_user_s_redis_does_not_print_its_password() -> None:
    """As `make serve-optimized` starts it."""
    with running_redis() as server:
        url = with_password(server)
        command = [sys.executable, "-m", "benchmark.measure.redis_server", sys.executable, "-c"]
        command += ["import os; print(os.environ['REDIS_URL'])"]
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "REDIS_URL": url},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    shown, given_on = ended.stdout.splitlines()
    assert shown == f"cache: {masked(url)}" and given_on == url
