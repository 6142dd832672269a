"""Dashboards: every query is answered by a live Prometheus, and a panel that may be empty says why."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest

from exporters.layer import TOP
from exporters.metrics import ServiceCollector
from service.api.app import create_app
from service.bundle import read_manifest
from service.cli import main_group
from service.files import write_json
from service.manifest import MANIFEST_NAME
from tests.alerting.fix_dashboards import DOCKER, LivePrometheus, scraping
from tests.alerting.fix_figures import full_figures
from tests.fix_forecast import add_forecast_feed, days_from, issue, refresh_leads
from tests.fix_region import LAST_DAY, ToyRegion, make_toy_region
from tests.fix_warnings import decide_newest, start_drill
from trainer.reference import reference_of

GRAFANA = DOCKER / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
FULL, TOY = "full", "toy"
_ANSWERS_WITHIN_S = 20.0
_EXPORTER = '\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "share"\n'
# What the toy region has nothing of; each of these panels says so itself.
NOTHING_IN_THE_TOY = {
    "Server not asked any more",
    "Zones without a known level",
    "CAP messages in a day",
    "Rain: hits and false alarms",
    "Bias",
    "Days behind these scores",
}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def every_panel() -> list[dict[str, Any]]:
    return [panel for path in FILES for panel in panels(json.loads(path.read_text()))]


def asked(expr: str, region: str, lead: int = 0) -> str:
    """The query as Grafana sends it."""
    return expr.replace("$region", region).replace("$lead", str(lead))


def full_page(folder: Path) -> Callable[[], bytes]:
    registry = CollectorRegistry()
    figures = full_figures(folder)
    registry.register(ServiceCollector(lambda: figures))
    return lambda: generate_latest(registry)


def toy_page(folder: Path) -> Callable[[], bytes]:
    """The /metrics of a region with a week of maps, forecasts, levels and a drill."""
    toy = make_toy_region(folder)
    add_forecast_feed(toy)
    toy.config.write_text(toy.config.read_text() + _EXPORTER)
    (toy.folder / "share").mkdir()
    _give_reference(toy)
    toy.ingest()
    toy.refresh(*[LAST_DAY + timedelta(days=back) for back in range(-6, 2)])
    issue(toy, dict.fromkeys(days_from(LAST_DAY + timedelta(days=1), 4), 12.0))
    refresh_leads(toy, 1, 2, 3)
    decide_newest(toy, {"west": 1, "east": 0})
    start_drill(toy, "west", 2)
    http = TestClient(create_app(toy.settings, toy.clock, bundle=None))
    return lambda: http.get("/metrics").content


def _give_reference(toy: ToyRegion) -> None:
    """Let the bundle know what its maps looked like, as training would have."""
    random = np.random.default_rng(0)
    days = np.stack([np.bincount(random.integers(0, TOP, 500), minlength=256) for _ in range(40)])
    manifest, _ = read_manifest(toy.folder / "bundle")
    reference = reference_of(days, cells=500, first=LAST_DAY, last=LAST_DAY, seed=0)
    told = manifest.model_copy(update={"reference": reference})
    write_json(toy.folder / "bundle" / MANIFEST_NAME, told.model_dump(mode="json"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePrometheus]:
    folder = tmp_path_factory.mktemp("dashboards")
    pages = {FULL: full_page(folder), TOY: toy_page(folder / "toy")}
    (folder / "prometheus").mkdir()
    with scraping(folder / "prometheus", pages) as prometheus:
        yield prometheus


def empty_panels(live: LivePrometheus, region: str) -> set[str]:
    """The panels of which a query stays without an answer; counters need two scrapes."""
    until = time.monotonic() + _ANSWERS_WITHIN_S
    waiting = {panel["title"]: panel for panel in every_panel()}
    while waiting and time.monotonic() < until:
        for title, panel in list(waiting.items()):
            if any(live.query(asked(target["expr"], region)) for target in panel["targets"]):
                del waiting[title]
        if set(waiting) <= (NOTHING_IN_THE_TOY if region == TOY else set()):
            break
        time.sleep(0.25)
    return set(waiting)


def test_every_query_is_answered_where_everything_is_known(live: LivePrometheus) -> None:
    assert not empty_panels(live, FULL)
    for panel in every_panel():
        for target in panel["targets"]:
            assert live.query(asked(target["expr"], FULL)), f"{panel['title']}: {target['expr']}"


def test_a_region_that_runs_fills_its_panels_and_the_empty_ones_say_why(live: LivePrometheus) -> None:
    empty = empty_panels(live, TOY)

    assert empty == NOTHING_IN_THE_TOY
    for panel in every_panel():
        if panel["title"] in empty:
            assert panel["fieldConfig"]["defaults"].get("noValue"), panel["title"]


def test_the_choices_of_a_reader_are_there(live: LivePrometheus) -> None:
    for path in FILES:
        for choice in json.loads(path.read_text())["templating"]["list"]:
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", choice["query"]["query"])
            assert found is not None
            series = live.query(asked(found[1], FULL))
            assert FULL in {one["metric"].get(found[2]) for one in series} or choice["name"] != "region"
            assert all(found[2] in one["metric"] for one in series)


def test_a_zone_is_shown_by_its_name(live: LivePrometheus) -> None:
    (panel,) = [panel for panel in every_panel() if panel["title"] == "Level of each zone"]
    found = live.query(asked(panel["targets"][0]["expr"], FULL))
    assert [(one["metric"]["name"], one["value"][1]) for one in found] == [("Alpha", "3")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_panel_says_what_it_shows_in_which_unit_and_where_it_becomes_bad(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert panels(dashboard)
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert len(panel["description"]) > 10, panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["thresholds"]["steps"][0]["value"] is None, panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert "region" in target["expr"] or "colluvium:threshold" in target["expr"], panel["title"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_panel_covers_another_or_leaves_the_page(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    dashboard = json.loads(path.read_text())
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_commands_that_a_panel_names_exist() -> None:
    named = {
        words
        for panel in every_panel()
        for words in re.findall(r"`colluvium ([a-z -]+)`", panel["description"])
    }
    assert named
    for words in named:
        command: click.Command = main_group
        for word in words.split():
            if word.startswith("--"):
                assert word in {option for one in command.params for option in one.opts}, words
                continue
            assert isinstance(command, click.Group), words
            found = command.get_command(click.Context(command), word)
            assert found is not None, words
            command = found


def test_the_files_are_what_their_source_makes() -> None:
    spec = importlib.util.spec_from_file_location("grafana_make", GRAFANA / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
        rendered = module.rendered()
    finally:
        sys.path[:] = before
    assert rendered == {path.name: path.read_text("utf-8") for path in FILES}


def test_grafana_finds_dashboards_and_datasource_under_the_names_that_panels_use() -> None:
    provisioning = GRAFANA / "provisioning"
    sources = re.findall(r"^    uid: (\S+)$", (provisioning / "datasources/colluvium.yml").read_text(), re.M)
    used = {panel["datasource"]["uid"] for panel in every_panel()}
    used |= {target["datasource"]["uid"] for panel in every_panel() for target in panel["targets"]}
    assert used <= set(sources)
    assert "path: /var/lib/grafana/dashboards\n" in (provisioning / "dashboards/colluvium.yml").read_text()
    uids = [json.loads(path.read_text())["uid"] for path in FILES]
    assert len(set(uids)) == len(FILES) == 3
