"""The example of Alertmanager: sound, and each alert goes where its severity and zone say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fix_alerting import ALERTMANAGER, alerts, program, told

ROUTES = [
    ("Watchdog", {"severity": "none"}, "heartbeat"),
    ("HighClassGrowth", {"severity": "critical", "days": "1"}, "control-room,phone"),
    ("BlindDuringStorm", {"severity": "critical"}, "control-room,phone"),
    ("ZoneHighClassGrowth", {"severity": "warning", "zone": "other"}, "control-room,mail"),
    ("ZoneHighClassGrowth", {"severity": "warning", "zone": "SYN-01"}, "control-room,district-mail,mail"),
    ("WarningLevelRaised", {"severity": "critical", "level": "red", "zone": "other"}, "control-room,phone"),
    (
        "WarningLevelRaised",
        {"severity": "critical", "level": "red", "zone": "SYN-02"},
        "control-room,district-mail,phone",
    ),
    ("WarningLevelRaised", {"severity": "warning", "level": "yellow", "zone": "other"}, "control-room,mail"),
    ("ForecastWarning", {"severity": "warning", "level": "red"}, "control-room,mail"),
    ("Exercise", {"severity": "critical", "exercise": "true"}, "control-room,phone"),
    ("Exercise", {"severity": "warning", "exercise": "true"}, "control-room,mail"),
    ("MapStale", {"severity": "critical"}, "phone"),
    ("ServiceDown", {"severity": "critical"}, "phone"),
    ("FeedSilent", {"severity": "warning", "feed": "gauges"}, "mail"),
    ("ModelChanged", {"severity": "info"}, "mail"),
]


def config() -> dict[str, Any]:
    """The example."""
    return dict(yaml.safe_load(ALERTMANAGER.read_text("utf-8")))


def test_the_example_is_sound() -> None:
    assert "SUCCESS" in told(program("amtool"), "check-config", str(ALERTMANAGER))


@pytest.mark.parametrize(("alert", "labels", "receivers"), ROUTES)
def test_an_alert_reaches_whom_it_should(alert: str, labels: dict[str, str], receivers: str) -> None:
    given = [f"{key}={value}" for key, value in {"alertname": alert, "region": "demo", **labels}.items()]

    told(
        program("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER}",
        f"--verify.receivers={receivers}", *given,
    )  # fmt: skip


def test_what_calls_a_person_by_phone_is_critical_and_nothing_else() -> None:
    for rule in alerts():
        severity = rule["labels"]["severity"]
        given = [f"alertname={rule['alert']}", "region=demo", f"severity={severity}", "zone=other"]
        if severity not in ("critical", "warning", "info"):
            continue  # the watchdog, and those that the value decides: see above
        said = told(program("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER}", *given)
        assert ("phone" in said) == (severity == "critical"), rule["alert"]


def test_nothing_holds_back_what_happens_on_the_ground_but_more_of_the_same() -> None:
    ground = {"HighClassGrowth", "ZoneHighClassGrowth", "WarningLevelRaised", "BlindDuringStorm"}

    for rule in config()["inhibit_rules"]:
        held = {name for name in ground if any(name in matcher for matcher in rule["target_matchers"])}
        sources = {name for name in ground if any(name in matcher for matcher in rule["source_matchers"])}
        assert held <= sources, rule
        if held:
            assert {"alertname", "region", "zone"} <= set(rule["equal"])


def test_what_gets_worse_is_not_hidden_in_a_call_that_was_answered() -> None:
    """A paging provider takes what joins an open group for the same incident, and rings no more."""
    (ground,) = [
        route for route in config()["route"]["routes"] if "BlindDuringStorm" in str(route["matchers"])
    ]
    (phone,) = [route for route in ground["routes"] if route["receiver"] == "phone"]

    assert {"region", "alertname", "level"} <= set(phone["group_by"])


def test_no_secret_stands_in_the_example() -> None:
    text = ALERTMANAGER.read_text("utf-8")

    for line in text.splitlines():
        if line.strip().startswith("#"):
            continue
        key = line.strip().removeprefix("- ").split(":")[0]
        if any(word in key for word in ("password", "token", "key", "secret", "credentials")):
            assert key.endswith("_file"), line


def test_a_message_names_the_worst_first_and_an_exercise_before_anything(tmp_path: Path) -> None:
    alert = {
        "status": "firing",
        "labels": {"severity": "critical", "region": "demo"},
        "annotations": {
            "summary": "high ground grew", "description": "by much", "runbook_url": "docs/runbooks/X.md",
        },
        "startsAt": "2026-03-26T06:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
    }  # fmt: skip
    ended = {**alert, "status": "resolved", "endsAt": "2026-03-27T06:00:00Z"}
    templates = str(ALERTMANAGER.parent / "templates" / "*.tmpl")

    def render(template: str, *of: dict[str, Any], exercise: bool = False) -> str:
        labels = {"severity": "critical", "region": "demo"} | ({"exercise": "true"} if exercise else {})
        status = "firing" if any(each["status"] == "firing" for each in of) else "resolved"
        data = {"receiver": "mail", "status": status, "alerts": list(of), "commonLabels": labels}
        path = tmp_path / "data.json"
        path.write_text(json.dumps(data), "utf-8")
        return told(
            program("amtool"), "template", "render", f"--template.glob={templates}",
            f'--template.text={{{{ template "{template}" . }}}}', f"--template.data={path}",
        )  # fmt: skip

    assert render("colluvium.subject", alert, alert).strip() == "CRITICAL demo: high ground grew (and 1 more)"
    assert render("colluvium.subject", ended).strip() == "ENDED demo: high ground grew"
    mild = {**alert, "labels": {"severity": "warning", "region": "demo"}, "annotations": {"summary": "rain"}}
    for several in ((mild, alert), (alert, mild)):
        assert render("colluvium.subject", *several).strip() == "CRITICAL demo: high ground grew (and 1 more)"
    assert render("colluvium.subject", ended, mild).strip() == "WARNING demo: rain"
    assert render("colluvium.subject", alert, exercise=True).startswith("EXERCISE EXERCISE CRITICAL demo")
    text = render("colluvium.text", alert, ended)
    assert "by much" in text
    assert "docs/runbooks/X.md" in text
    assert "no all-clear" in text
