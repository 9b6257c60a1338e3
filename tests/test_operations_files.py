"""Alert rules and dashboard: valid, and about metrics that a running relay has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from service import telemetry
from tests.support.relay_app import RelayApp

pytestmark = pytest.mark.one_database  # names of metrics

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yaml"
RUNBOOK = DEPLOY.parent / "docs" / "runbook.md"
DASHBOARD = DEPLOY / "grafana" / "soniox-relay.json"
GIVEN_BY_PROMETHEUS = {"instance", "job", "le"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, PromQL) of all; Grafana's own variable is filled in as Grafana does."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


EXPRESSIONS = dict(expressions())


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_each_expression_is_promql(place: str) -> None:
    promql_parser.parse(EXPRESSIONS[place])


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_each_label_is_one_the_metric_has(place: str) -> None:
    text = EXPRESSIONS[place]
    metrics = [metric for name in names_in(text) for metric in [metric_of(name)] if metric]
    known = {label for metric in metrics for label in metric._labelnames} | GIVEN_BY_PROMETHEUS
    used = {word for inside in re.findall(r"\{([^}]*)\}", text) for word in re.findall(r"(\w+)\s*[=!]", inside)}
    used |= {word.strip() for inside in re.findall(r"by \(([^)]*)\)", text) for word in inside.split(",")}
    assert used <= known, place


async def test_each_metric_is_in_the_metrics_of_a_running_relay(relay_app: RelayApp) -> None:
    exposed = (await relay_app.client.get("/metrics")).text
    there = set(re.findall(r"^# TYPE (\w+) ", exposed, re.MULTILINE))
    for place, text in expressions():
        names = names_in(text)
        assert names, place
        missing = {name for name in names if re.sub(r"_(bucket|sum|count)$", "", name) not in there}
        assert not missing, place


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\brelay_\w+", text))


def metric_of(name: str) -> Any:
    return telemetry.REGISTRY._names_to_collectors.get(name)


def test_each_rule_says_what_it_means_and_how_urgent_it_is() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_every_alert_has_its_heading_in_the_runbook_and_leads_there() -> None:
    runbook = RUNBOOK.read_text("utf-8")
    alerts = re.search(r"^## Alerts\n(.*?)^## ", runbook, re.MULTILINE | re.DOTALL)
    assert alerts
    sections = re.split(r"^### (\w+)\n", alerts[1], flags=re.MULTILINE)[1:]
    assert sections[::2] == [rule["alert"] for rule in rules()]
    for name, text in zip(sections[::2], sections[1::2], strict=True):
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Meaning", "Check", "Cure"], name
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert {"title", "uid", "schemaVersion", "templating", "time"} <= set(dashboard)
    [source] = dashboard["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another"
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in panels():
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
