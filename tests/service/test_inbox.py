"""The inbox: what Alertmanager would send to a control room, one line an alert."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from service.cli import main_group
from service.commands.inbox import lines_of, make_inbox
from service.errors import StorageError

ALERT = {
    "status": "firing",
    "labels": {"alertname": "HighClassGrowth", "severity": "critical", "region": "demo"},
    "annotations": {"summary": "demo: high and very high ground grew by 21 %\n of the region"},
}


class Inbox:
    """A running inbox, and what it said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.server = make_inbox("127.0.0.1", 0, self.said.append)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def post(self, body: Any) -> int:
        return requests.post(self.address, json=body, timeout=10).status_code


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_each_alert_is_a_line_with_its_severity_and_summary(inbox: Inbox) -> None:
    ended = {**ALERT, "status": "resolved"}

    assert inbox.post({"version": "4", "alerts": [ALERT, ended]}) == 204

    first, second = inbox.said
    assert (
        "FIRING critical HighClassGrowth: demo: high and very high ground grew by 21 % of the region" in first
    )
    assert "ended" in second
    assert "FIRING" not in second


@pytest.mark.parametrize("body", [[], {}, {"alerts": "many"}, {"alerts": ["one"]}, "hello"])
def test_what_is_no_message_of_alertmanager_is_refused_and_the_next_one_still_shown(
    inbox: Inbox, body: Any
) -> None:
    assert inbox.post(body) == 400
    assert inbox.post({"alerts": [ALERT]}) == 204
    assert len(inbox.said) == 1


def test_a_body_without_a_bound_is_refused(inbox: Inbox) -> None:
    reply = requests.post(inbox.address, data=iter([b"x" * 10]), timeout=10)

    assert reply.status_code == 413
    assert inbox.said == []


def test_an_alert_without_labels_still_has_its_line() -> None:
    assert list(lines_of({"alerts": [{"status": "firing"}]})) == ["FIRING - -: "]


def test_a_port_that_is_taken_is_named(inbox: Inbox) -> None:
    port = int(inbox.server.server_address[1])

    with pytest.raises(StorageError, match=rf"{port}.*--port"):
        make_inbox("127.0.0.1", port, print)


def test_it_is_one_of_the_alerts_commands() -> None:
    assert "webhook" in CliRunner().invoke(main_group, ["alerts", "inbox", "--help"]).output
