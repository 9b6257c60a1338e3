"""The alert rules speak of metrics that exist."""

import re
from pathlib import Path

import yaml

from service import telemetry

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
