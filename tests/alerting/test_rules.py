"""Our rules, judged by Prometheus' own tools, and held against what is exposed and what the runbooks say."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from exporters.metrics import ServiceCollector
from tests.exporters.test_metrics import whole_figures
from tests.fix_alerting import (
    DOCKER,
    RULE_TESTS,
    RULES,
    RUNBOOKS,
    alerts,
    all_rules,
    program,
    told,
)
from tests.fix_region import ToyRegion
from tests.fix_site import site_of

NAMES = sorted({rule["alert"] for rule in alerts()})


def test_the_rules_are_sound() -> None:
    assert "SUCCESS" in told(program("promtool"), "check", "rules", "--lint-fatal", *map(str, RULES))


def test_the_configuration_is_sound_with_the_rules_beside_it() -> None:
    text = told(program("promtool"), "check", "config", str(DOCKER / "prometheus" / "prometheus.yml"))

    assert f"{len(RULES)} rule files found" in text


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_end_as_promised(path: Path) -> None:
    assert "SUCCESS" in told(program("promtool"), "test", "rules", str(path))


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_the_tests_of_rules_name_the_order_of_all_groups(path: Path) -> None:
    """Left to itself, promtool takes any order, and what one group says to the next is a minute late."""
    groups = [
        group["name"] for rules in RULES for group in yaml.safe_load(rules.read_text("utf-8"))["groups"]
    ]
    order = yaml.safe_load(path.read_text("utf-8"))["group_eval_order"]

    assert sorted(order) == sorted(groups)
    assert order[:2] == ["colluvium_thresholds", "colluvium_growth"]


@cache
def _tries() -> list[tuple[str, float]]:
    """Every expression that the tests of the rules ask for, and the number that they expect."""
    return [
        (str(check["expr"]), check["exp_samples"][0]["value"])
        for path in RULE_TESTS
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]
        for check in test["promql_expr_test"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tried_both_firing_and_silent(name: str) -> None:
    found = {value > 0 for expr, value in _tries() if f'alertname="{name}"' in expr}

    assert found == ({True} if name in ("Watchdog",) else {True, False})


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_where_and_what_to_do(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    severity = rule["labels"]["severity"]

    assert severity in ("critical", "warning", "info", "none") or "{{ if ge $value 2.0 }}critical" in severity
    assert notes["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    assert len(notes["description"]) > 50
    if rule["alert"] not in ("Watchdog", "RulesFailing"):
        assert "$labels.region" in notes["summary"]
    if "zone" in str(rule["expr"]) and rule["alert"] != "HighClassGrowth":
        assert "$labels.zone" in notes["summary"] + notes["description"]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}

    assert pages == set(NAMES)
    for name in pages:
        text = (RUNBOOKS / f"{name}.md").read_text("utf-8")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
            "What it means", "What to look at", "What to do",
        ], name  # fmt: skip
        assert f"[{name}]({name}.md)" in (RUNBOOKS / "README.md").read_text("utf-8")
        for other in re.findall(r"\((\w+)\.md\)", text):
            assert other in pages, f"{name} points to {other}"


def test_growth_is_never_a_series_minus_its_own_past() -> None:
    for rule in all_rules():
        assert "offset" not in rule["expr"], rule


def test_every_metric_that_a_rule_reads_is_one_that_the_service_exposes(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(ServiceCollector(lambda: whole_figures(tmp_path)))
    exposed = {sample.name for family in registry.collect() for sample in family.samples}
    text = " ".join(
        [str(rule["expr"]) for rule in all_rules()]
        + [note for rule in alerts() for note in rule["annotations"].values()]
    )

    used = set(re.findall(r"\bcolluvium_[a-z0-9_]+", text))

    assert len(used) > 20
    assert used <= exposed


def test_every_record_and_threshold_that_a_rule_reads_is_written_by_one() -> None:
    text = " ".join(str(rule["expr"]) for rule in all_rules())
    records = {rule["record"] for rule in all_rules() if "record" in rule}
    thresholds = {
        rule["labels"]["name"] for rule in all_rules() if rule.get("record") == "colluvium:threshold"
    }

    assert set(re.findall(r"\bcolluvium:\w+", text)) <= records
    assert set(re.findall(r'colluvium:threshold\{name="(\w+)"', text)) == thresholds


def test_prometheus_finds_no_fault_with_any_name_or_type(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(ServiceCollector(lambda: whole_figures(tmp_path)))

    told(program("promtool"), "check", "metrics", given=generate_latest(registry).decode())


def test_prometheus_reads_what_a_served_region_exposes(toy: ToyRegion) -> None:
    toy.refresh()
    text = site_of(toy).get("/metrics").text

    assert "colluvium_class_area_square_meters" in text
    told(program("promtool"), "check", "metrics", given=text)
