"""A real Prometheus with deploy/prometheus: it scrapes the servers under load and answers every query."""

import itertools
import json
import math
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from conftest import SERVERS, serving
from deploy_files import DASHBOARD, DEPLOY, RULES, documents, rules

from benchmark.measure import loopback
from benchmark.measure.processes import READY_POLL_S, Child, Server, free_port
from benchmark.measure.redis_server import NO_REDIS, RedisProcess, has_redis, running_redis
from optimized.web.cpus import allowed_cpus

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
pytestmark = pytest.mark.skipif(
    not (PROMETHEUS and PROMTOOL), reason="there is no Prometheus; on Debian: apt-get install prometheus"
)
FOLDER = DEPLOY / "prometheus"
ALERTS_TEST = Path(__file__).parent / "alerts.test.yml"
WAIT_S, ANSWER_S = 90.0, 30.0
TEXTS = [f"{number} dogs are playing in the snow." for number in range(2, 40)]
# Some requests have hardly any time: they are refused, or answered with 504.
TIMEOUTS_MS = ("20000", "20000", "20000", "1")


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["prometheus.yml", "kubernetes.yml"])
def test_promtool_accepts_the_configuration_and_refuses_a_wrong_one(name: str, tmp_path: Path) -> None:
    config = documents(FOLDER / name)[0]
    for scrape in config["scrape_configs"]:
        # Debian's Prometheus is built without the discovery of pods; the rest can be checked.
        if scrape.pop("kubernetes_sd_configs", None):
            scrape["static_configs"] = []
    shutil.copy(RULES, tmp_path)
    path = tmp_path / name
    path.write_text(yaml.safe_dump(config))
    checked = promtool("check", "config", path)
    assert checked.returncode == 0 and f"{len([*rules()])} rules found" in checked.stdout, checked.stderr
    (tmp_path / RULES.name).write_text(
        RULES.read_text().replace("sum by (server, route", "sum by server, route")
    )
    assert promtool("check", "config", path).returncode != 0


def test_promtool_can_parse_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = [query for _, _, query in panels_by_server()]
    for text, valid in ((queries, True), ([*queries, "rate(up[1m]"], False)):
        named = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(text)]
        (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": named}]}))
        assert (promtool("check", "rules", tmp_path / "rules.yml").returncode == 0) == valid


def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    cases = documents(ALERTS_TEST)[0]["tests"]
    tested = [one for case in cases for one in case["alert_rule_test"]]
    for alert in {rule["alert"] for rule in rules() if "alert" in rule}:
        fires = {bool(one.get("exp_alerts")) for one in tested if one["alertname"] == alert}
        assert fires == {True, False}, alert
    ended = promtool("test", "rules", ALERTS_TEST)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    wrong = tmp_path / "rules.yml"
    wrong.write_text(RULES.read_text().replace("< 0.9", "< 0.3"))
    (tmp_path / "test.yml").write_text(
        ALERTS_TEST.read_text().replace(f"../../{RULES.relative_to(DEPLOY.parent)}", str(wrong))
    )
    assert promtool("test", "rules", tmp_path / "test.yml").returncode != 0


class Load:
    """Sends each server requests until it is stopped, most with time enough."""

    def __init__(self, urls: list[str]) -> None:
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(url,)) for url in urls for _ in range(2)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _send(self, url: str) -> None:
        with loopback.Client(base_url=url, timeout=ANSWER_S) as client:
            for number in itertools.count():
                if self._stopped.is_set():
                    return
                route = ("/translate", "/sentiment")[number % 2]
                headers = {"X-Timeout-Ms": TIMEOUTS_MS[number // 2 % len(TIMEOUTS_MS)]}
                client.post(route, json={"text": TEXTS[number % len(TEXTS)]}, headers=headers)


class Scraped:
    """The servers under load, their Redis, and the Prometheus that scrapes them."""

    def __init__(self, url: str, cache: RedisProcess) -> None:
        self.url = url
        self.cache = cache

    def get(self, path: str, **parameters: str) -> Any:
        answer = loopback.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=ANSWER_S)
        content = answer.json()
        assert content["status"] == "success" and not content.get("warnings"), (parameters, content)
        return content["data"]

    def values(self, query: str) -> list[float]:
        return [float(one["value"][1]) for one in self.get("query", query=query)["result"]]

    def wait_for(self, query: str) -> list[float]:
        """The values of a query, once it has any; NaN, of what never happens, is none."""
        return until(lambda: [one for one in self.values(query) if not math.isnan(one)], bool, query)


def until(read: Callable[[], Any], holds: Callable[[Any], bool], what: str) -> Any:
    ends_s = time.monotonic() + WAIT_S
    while not holds(found := read()):
        assert time.monotonic() < ends_s, f"{what}: {found}"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    if not has_redis():
        pytest.skip(NO_REDIS)
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        cache = stack.enter_context(running_redis())
        servers: list[Server] = [
            stack.enter_context(serving(name, folder, GAP_REDIS_URL=cache.url)) for name in SERVERS
        ]
        jobs = [
            {"targets": [one.url.removeprefix("http://")], "labels": {"server": one.name}} for one in servers
        ]
        config = documents(FOLDER / "prometheus.yml")[0]
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES)]
        config["scrape_configs"][0]["static_configs"] = jobs
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        command = [str(PROMETHEUS), f"--config.file={folder / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
        child = stack.enter_context(Child(command, tuple(allowed_cpus()), folder / "prometheus.log", {}))
        url = f"http://127.0.0.1:{port}"
        wait_ready(url, child)
        stack.enter_context(Load([one.url for one in servers]))
        yield Scraped(url, cache)


def wait_ready(url: str, child: Child) -> None:
    ends_s = time.monotonic() + WAIT_S
    while time.monotonic() < ends_s:
        assert child.process.poll() is None, child.last_line()
        try:
            if loopback.get(f"{url}/-/ready", timeout=5.0).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(READY_POLL_S)
    pytest.fail(f"Prometheus is not ready: {child.last_line()}")


def panels_by_server() -> list[tuple[str, str, str]]:
    """Server, panel and query: a row that names a server is for it alone."""
    found, servers = [], SERVERS
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] == "row":
            named = re.search(r"\((\w+)\)", panel["title"])
            servers = (named[1],) if named else SERVERS
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "10s")
            found += [(one, panel["title"], query.replace("$server", one)) for one in servers]
    return found


def test_every_server_is_scraped(scraped: Scraped) -> None:
    scraped.wait_for(f'count(up{{job="inference-gap"}} == 1) == {len(SERVERS)}')
    until(
        lambda: scraped.get("label/server/values"),
        lambda found: found == sorted(SERVERS),
        "the dashboard's variable",
    )


@pytest.mark.parametrize(
    ("server", "title", "query"), [one for one in panels_by_server() if "errors" not in one[2]]
)
def test_every_panel_shows_something(scraped: Scraped, server: str, title: str, query: str) -> None:
    assert all(value >= 0 for value in scraped.wait_for(query)), title


def test_every_rule_is_evaluated_without_an_error(scraped: Scraped) -> None:
    def evaluated() -> list[dict[str, Any]]:
        return [rule for group in scraped.get("rules")["groups"] for rule in group["rules"]]

    until(evaluated, lambda found: all(one["health"] == "ok" for one in found), "health of the rules")
    assert len(evaluated()) == len([*rules()])
    for rule in rules():
        if "record" in rule:
            scraped.wait_for(rule["record"])
        else:
            scraped.get("query", query=rule["expr"])


def test_ratios_lie_between_0_and_1(scraped: Scraped) -> None:
    for rule in rules():
        if ":ratio" in rule.get("record", ""):
            assert all(0 <= value <= 1 for value in scraped.wait_for(rule["record"])), rule["record"]
    assert scraped.wait_for('server:gap_cache_hit:ratio5m{server="optimized"} > 0')
    assert scraped.wait_for('server:gap_refused:ratio1m{server="dynamic_batching"} > 0')


def test_a_redis_that_ends_is_seen(scraped: Scraped) -> None:
    scraped.cache.kill()
    query = next(query for _, title, query in panels_by_server() if "errors" in query)
    assert max(scraped.wait_for(query)) >= 0
    scraped.wait_for("sum(gap_cache_errors_total) > 0")
