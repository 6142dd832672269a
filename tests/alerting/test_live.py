"""The chain as it runs: a served region, Prometheus with our rules, Alertmanager with our routes, webhook."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from prometheus_client import CollectorRegistry, generate_latest

from exporters.layer import Layer
from exporters.metrics import Figures, ServiceCollector
from exporters.upkeep_metrics import UpkeepFigures
from service.api.app import create_app
from service.errors import Outcome
from service.ledger import Ledger
from service.stamps import utc_now
from service.workshop import ledger_path
from tests.alerting.fix_figures import full_figures
from tests.exporters.fix_layer import make_layer
from tests.exporters.test_metrics import warned
from tests.fix_alerting import Exposition, Watch, Webhook, alerts, until
from tests.fix_region import ToyRegion


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A receiver of the test's own."""
    receiver = Webhook()
    yield receiver
    receiver.close()


@contextmanager
def serving(toy: ToyRegion) -> Iterator[str]:
    """Serve the region as its daemon does, with the real clock; the address."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(toy.settings, utc_now, bundle=None), port=0, log_level="error")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the server starts")
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def storm(folder: Path, day: date) -> Layer:
    """A layer of a day on which high and very high ground grew everywhere, by a model that may warn."""
    made = warned(folder, 2)
    areas = tuple(
        area.model_copy(update={"change_ratio": {1: 0.12}, "change_m2": {1: 12e6}}) for area in made.areas
    )
    fresh = make_layer(folder, day, region="toy", id=f"toy-{day}-l0-r1")
    return fresh.model_copy(update={"areas": areas, "warnings": made.warnings, "model": made.model})


def test_growth_reaches_the_webhook_within_a_minute_and_an_old_map_is_called_beside_it(
    toy: ToyRegion, tmp_path: Path, webhook: Webhook
) -> None:
    # The map is due soon after the chain stands, at whatever hour: its readings are there since yesterday.
    due = datetime.now(UTC) + timedelta(seconds=25)
    with toy.config.open("a") as config:
        config.write(f'[schedule]\nrefresh = "* * * * *"\nready_by = "{due:%H:%M:%S}"\n')
    day = due.date() - timedelta(days=1)
    layer = storm(toy.data, day).model_copy(update={"data_until": day - timedelta(days=2)})
    with Ledger(ledger_path(toy.settings), utc_now) as ledger:
        run = ledger.start_run("refresh", day)
        with ledger.transaction():
            ledger.add_layer(layer, {}, ())
        ledger.end_run(run, Outcome.PUBLISHED)

    with serving(toy) as address:
        watch = Watch(tmp_path, {"toy": address}, webhook.url)
        try:
            started = time.monotonic()
            (growth,) = until(lambda: webhook.firing("HighClassGrowth"), "growth reaches the webhook")[:1]
            assert time.monotonic() - started < 60
            assert growth["labels"]["region"] == "toy"
            # High and very high count together: twice 12 points, twice 12 km2.
            assert "24% of the known area, 24.0 km2" in growth["annotations"]["description"]
            (level,) = until(lambda: webhook.firing("WarningLevelRaised"), "the level reaches the webhook")[
                :1
            ]
            assert level["labels"]["level"] == "orange"
            assert level["annotations"]["summary"] == "toy, zone A: warning level orange"

            until(lambda: webhook.firing("MapStale"), "the old map is called", 60)
            blind = until(lambda: webhook.firing("BlindDuringStorm"), "blindness is called", 20)
            assert "the map is old" in blind[0]["annotations"]["summary"]
            (whole,) = [alert for alert in blind if "zone" not in alert["labels"]][:1]
            assert "24% within 1 day" in whole["annotations"]["description"]
            firing = {alert["labels"]["alertname"] for alert in watch.alerts()}
            assert {"HighClassGrowth", "WarningLevelRaised", "MapStale", "BlindDuringStorm"} <= firing
            assert not watch.broken_rules()
        finally:
            watch.close()


def exposed(figures: Figures, *more: str) -> str:
    """Return figures as the service exposes them."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(lambda: figures))
    return generate_latest(registry).decode() + "\n".join([*more, ""])


def test_a_service_that_dies_in_the_storm_keeps_its_alert_and_another_model_ends_it(
    tmp_path: Path, webhook: Webhook
) -> None:
    now = datetime.now(UTC)
    upkeep = UpkeepFigures(layer_due=(now + timedelta(days=1)).timestamp())
    figures = Figures(storm(tmp_path, now.date()), now.timestamp(), {}, {}, 0, "CPU", upkeep=upkeep)
    dying, changing = Exposition(exposed(figures)), Exposition(exposed(figures))
    watch = Watch(tmp_path, {"dying": dying.address, "changing": changing.address}, webhook.url)

    def growing() -> set[str]:
        found = watch.query("colluvium:region_growing_ratio")
        return {each["metric"]["region"] for each in found}

    try:
        until(lambda: growing() == {"dying", "changing"}, "both grow")
        dying.close()
        other = storm(tmp_path, now.date())
        bare = tuple(area.model_copy(update={"change_m2": {}, "change_ratio": {}}) for area in other.areas)
        model = other.model.model_copy(update={"digest": "e" * 64})
        changing.text = exposed(
            Figures(
                other.model_copy(update={"areas": bare, "model": model, "warnings": ()}),
                now.timestamp(), {}, {}, 0, "CPU", upkeep=upkeep,
            )
        )  # fmt: skip

        until(lambda: watch.query("colluvium:up == 0"), "the target is seen to be down")
        until(lambda: growing() == {"dying"}, "growth ends with the model and not with the service")
        # It is carried from evaluation to evaluation, by a Prometheus that is started again, too.
        watch.restart_prometheus()
        until(lambda: watch.query("colluvium:up == 0"), "the target is still down")
        since = float(watch.query("vector(time())")[0]["value"][1])
        until(lambda: _evaluated_after(watch, since + 3), "three more evaluations")
        assert growing() == {"dying"}
        assert [each["value"][1] for each in watch.query('colluvium:growth_ratio{zone=""}')] == ["0.24"]
        assert not watch.broken_rules()
    finally:
        watch.close()
        changing.close()


def _evaluated_after(watch: Watch, moment: float) -> bool:
    """Whether a rule wrote its record later than a moment."""
    found = watch.query("timestamp(colluvium:threshold) > " + str(moment))
    return bool(found)


def test_every_text_of_every_alert_is_a_sentence_with_its_figures(tmp_path: Path, webhook: Webhook) -> None:
    """Everything goes wrong in one region: what Prometheus then says has no hole and no error in it."""
    text = exposed(
        full_figures(tmp_path),
        'colluvium_zone_warning_unknown{zone="hole",lead="0"} 1',
        'colluvium_zone_warning_level{zone="a",lead="9"} 3',
    )
    bad = {
        r"(colluvium_layer_due_timestamp_seconds) .*": r"\1 1",
        r"(colluvium_refresh_last_success_timestamp_seconds) .*": r"\1 1",
        r"(colluvium_layer_status{status=\"degraded\"}) .*": r"\1 1",
        r"(colluvium_(?:layer_unconfirmed|held)) .*": r"\1 1",
        r"(colluvium_refresh_last_outcome{outcome=\"held\"}) .*": r"\1 1",
        r"(colluvium_window_observed_ratio) .*": r"\1 0.5",
        r"(colluvium_forecast_issued_timestamp_seconds{.*}) .*": r"\1 1",
        r"(colluvium_feed_(?:due|last_success)_timestamp_seconds{.*}) .*": r"\1 1",
        r"(colluvium_export_(?:parked|pending){.*}) .*": r"\1 2",
        r"(colluvium_(?:output_stability_index|outside_training_ratio)) .*": r"\1 0.9",
        r"(colluvium_disk_free_bytes) .*": r"\1 1e6",
        r"(colluvium_clock_timestamp_seconds) .*": r"\1 1",
        r"(colluvium_detection_waiting_since_timestamp_seconds) .*": r"\1 1",
    }
    for pattern, replacement in bad.items():
        text, changed = re.subn(f"^{pattern}$", replacement, text, flags=re.MULTILINE)
        assert changed, pattern
    text += 'colluvium_refresh_last_outcome{outcome="failed"} 1\n'
    target = Exposition(text)
    # Counts must be seen to rise, and a model to change.
    empty = Exposition("")
    gone = Exposition("")
    gone.close()
    watch = Watch(
        tmp_path, {"bad": target.address, "empty": empty.address, "gone": gone.address}, webhook.url
    )
    try:
        until(lambda: watch.query("colluvium:region_growing_ratio"), "the first scrape")
        for pattern in (
            r'(colluvium_readings_total{feed="gauges",quality="rejected"}) .*',
            r'(colluvium_verification_events{outcome="miss"}) .*',
        ):
            target.text = re.sub(pattern, r"\1 50.0", target.text)
        target.text = target.text.replace('digest="bbbb', 'digest="cccc')
        expected = {rule["alert"] for rule in alerts()} - {
            "ServiceAbsent", "RulesFailing", "ModelMayNotWarn",  # mistakes of the configuration; the opposite
        }  # fmt: skip

        def missing() -> set[str]:
            return expected - {alert["labels"]["alertname"] for alert in watch.alerts()}

        until(lambda: not missing(), "all alerts fire", 60) if missing() else None
        for alert in watch.alerts():
            for note in alert["annotations"].values():
                assert not re.search(r"error expanding|<no value>|%!|{{|  |NaN|\+Inf", note), note
            assert alert["labels"]["severity"] in ("critical", "warning", "info", "none")
        assert not watch.broken_rules()
    finally:
        watch.close()
        target.close()
        empty.close()
