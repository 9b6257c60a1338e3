"""The alert rules speak of metrics that exist."""

import re
from pathlib import Path

import yaml

from service import telemetry

RUNBOOK = Path(__file__).parents[1] / "docs" / "runbook.md"
RULES = Path(__file__).parents[1] / "deploy" / "prometheus" / "alerts.yaml"


def test_every_metric_in_an_alert_rule_is_one_the_relay_has() -> None:
    known = {family.name for family in telemetry.REGISTRY.collect()}
    known |= {sample.name for family in telemetry.REGISTRY.collect() for sample in family.samples}
    known |= {f"{name}_total" for name in known}
    rules = [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
    assert rules
    for rule in rules:
        used = set(re.findall(r"relay_\w+", rule["expr"]))
        assert used, rule["alert"]
        assert used <= known, f"{rule['alert']} uses {used - known}"
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_every_alert_has_its_heading_in_the_runbook_and_leads_there() -> None:
    runbook = RUNBOOK.read_text("utf-8")
    alerts = re.search(r"^## Alerts\n(.*?)^## ", runbook, re.MULTILINE | re.DOTALL)
    assert alerts
    sections = re.split(r"^### (\w+)\n", alerts[1], flags=re.MULTILINE)[1:]
    rules = [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
    assert sections[::2] == [rule["alert"] for rule in rules if "alert" in rule]
    for name, text in zip(sections[::2], sections[1::2], strict=True):
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Meaning", "Check", "Cure"], name
    for rule in rules:
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
