"""Queries of the dashboard and the rules name only what the servers export; the dashboard is well formed."""

import ast
import json
import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from checkout import ROOT
from deploy_files import DASHBOARD, DEPLOY, RULES, documents, panels, rules
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Metric

from baseline.web.metrics import Metrics
from dynamic_batching.scheduler_metrics import SchedulerMetrics

# What Prometheus itself adds to a series, or its configuration.
OWN_LABELS = {"server", "instance", "job", "le"}
# On Linux alone; labelled by nothing.
OF_A_PROCESS = ("process_cpu_seconds_total", "process_start_time_seconds")
WORD = re.compile(r"\b(?:up|(?:gap|process)_\w+|\w+:[\w:]+)\b")
LABELS = re.compile(r"\bby \(([^)]*)\)|(\w+)=~?\"")


def exported() -> dict[str, set[str]]:
    """The labels of every series of /metrics, of all servers."""
    registry = CollectorRegistry()
    requests = Metrics(registry)
    requests.record("/translate", 200, SimpleNamespace(arrived_s=0.0, phases_s={}))  # type: ignore[arg-type]
    queue = SimpleNamespace(requests=0, tokens=0)
    numbers = {"admitted": 0, "answered": 0, "failed": 0, "dropped": Counter(draining=0), "requests": set()}
    admission, pool = SimpleNamespace(refused=Counter(queue_full=0)), SimpleNamespace(lost=0)
    fake = SimpleNamespace(task="translation", queue=queue, admission=admission, pool=pool, **numbers)
    fake.running_slots = lambda: 0
    batches = SchedulerMetrics(registry)
    batches.watch(fake)  # type: ignore[arg-type]
    for part in vars(batches).values():
        if hasattr(part, "labels"):
            part.labels("translation")
    for name, labels in cache_counters():
        Metric(name, name, labels, registry=registry).labels(*labels)
    return {sample.name: {*sample.labels} for family in registry.collect() for sample in family.samples} | {
        "up": set()
    }


def cache_counters() -> list[tuple[str, list[str]]]:
    """Name and labels of the counters that the engine of `optimized` makes, which needs models to be made."""
    calls = ast.walk(ast.parse((ROOT / "optimized" / "engine.py").read_text()))
    made = [one for one in calls if isinstance(one, ast.Call) and getattr(one.func, "id", "") == "Counter"]
    return [(ast.literal_eval(one.args[0]), ast.literal_eval(one.args[2])) for one in made]


EXPORTED = exported()
RECORDED = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
QUERIES = [*panels(), *((rule.get("record") or rule["alert"], rule["expr"]) for rule in rules())]


def problems(query: str) -> list[str]:
    """The names of a query that nothing exports or records, and the labels that none of its series has."""
    words = {*WORD.findall(query.replace("$__rate_interval", "1m"))}
    unknown = sorted(words - {*EXPORTED, *RECORDED})
    labels = set().union(OWN_LABELS, *(EXPORTED.get(word, set()) for word in words))
    # A recorded series is named after its labels.
    labels |= {label for word in words if ":" in word for label in word.partition(":")[0].split("_")}
    asked = {label for listed, one in LABELS.findall(query) for label in (listed or one).split(", ")}
    return unknown + sorted(asked - labels)


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_query_names_only_what_is_exported(title: str, query: str) -> None:
    assert not problems(query), title
    assert query.count("(") == query.count(")")


def test_the_check_sees_wrong_names() -> None:
    assert problems("sum by (task) (gap_queue_request)") == ["gap_queue_request", "task"]
    assert problems('rate(gap_received_total{task="translation"}[1m])') == ["task"]
    assert problems("server:gap_nothing:ratio1m > 1") == ["server:gap_nothing:ratio1m"]
    assert {"gap_batch_size_bucket", "gap_cache_texts_total", "process_start_time_seconds"} <= {*EXPORTED}


def test_the_autoscaler_asks_for_a_metric_that_is_exported() -> None:
    scaler = documents(DEPLOY / "kubernetes" / "dynamic_batching" / "autoscaler.yaml")[0]
    assert [one["pods"]["metric"]["name"] in EXPORTED for one in scaler["spec"]["metrics"]] == [True]


def test_every_metric_of_the_scheduler_page_is_exported() -> None:
    page = (ROOT / "docs" / "scheduler.md").read_text().partition("## Metrics")[2]
    named = {
        name
        for row in re.findall(r"^\| (`gap.*?) \|", page, re.MULTILINE)
        for name in re.findall(r"gap_\w+", row)
    }
    assert len(named) > 15
    assert named <= {name.removesuffix("_bucket") for name in EXPORTED}


def test_every_alert_says_what_and_where() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) >= 8
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert "$labels.server" in (said := rule["annotations"]["summary"]) or "$labels.instance" in said


def test_the_dashboard_can_be_provisioned() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    provisioning = DEPLOY / "grafana" / "provisioning"
    source = documents(provisioning / "datasources" / "prometheus.yml")[0]["datasources"][0]
    provider = documents(provisioning / "dashboards" / "inference-gap.yml")[0]["providers"][0]
    grafana = documents(DEPLOY / "compose.yaml")[0]["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{DASHBOARD.name}"
    interval = documents(DEPLOY / "prometheus" / "prometheus.yml")[0]["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    used = [one["datasource"] for one in dashboard["panels"] if one["type"] != "row"]
    used += [one["datasource"] for one in dashboard["templating"]["list"]]
    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in used)
    assert len({one["id"] for one in dashboard["panels"]}) == len(dashboard["panels"])
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["server"]


def test_panels_do_not_overlap_and_each_asks_for_the_chosen_server() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            selectors = re.findall(r"{([^}]*)}", target["expr"])
            assert selectors and all('server="$server"' in one for one in selectors), panel["title"]


@pytest.mark.parametrize("part", ["Load", "Latency", "Batching", "Slots", "Cache", "Overload"])
def test_the_dashboard_has_a_row_for(part: str) -> None:
    rows = [one["title"] for one in json.loads(DASHBOARD.read_text())["panels"] if one["type"] == "row"]
    assert any(row.startswith(part) for row in rows)


def test_thresholds_follow_the_defaults_of_the_settings() -> None:
    from dynamic_batching.config import Settings

    fields = Settings.model_fields
    by_name = {rule["alert"]: rule["expr"] for rule in rules() if "alert" in rule}
    assert by_name["InferenceQueueDeep"].endswith(f"> {fields['queue_size'].default // 2}")
    assert by_name["InferenceSlow"].endswith(f"> {fields['timeout_ms'].default // 2000}")
    text = DASHBOARD.read_text()
    assert f'"value": {fields["timeout_ms"].default // 1000}}}' in text
    assert RULES.is_file()
