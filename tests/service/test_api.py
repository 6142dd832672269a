"""HTTP: what it says with and without a layer; nothing in it writes."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from service.api.app import create_app
from service.bundle import Bundle
from tests.fix_region import ToyRegion

DAY = date(2026, 3, 5)


def client(toy: ToyRegion, *, loaded: bool = True, registry: CollectorRegistry | None = None) -> TestClient:
    bundle = Bundle.load(toy.settings.bundle.path) if loaded else None
    return TestClient(create_app(toy.settings, toy.clock, bundle=bundle, registry=registry))


def test_without_a_layer_it_is_healthy_but_not_ready_and_gauges_are_absent(toy: ToyRegion) -> None:
    registry = CollectorRegistry()
    http = client(toy, registry=registry)

    assert http.get("/healthz").status_code == 200
    assert http.get("/readyz").status_code == 503
    assert http.get("/latest").status_code == 404
    assert "NO MAP" in http.get("/").text
    assert registry.get_sample_value("colluvium_refresh_total", {"outcome": "published"}) == 0
    assert registry.get_sample_value("colluvium_layer_day_timestamp_seconds") is None
    area = {"class": "high", "lead": "0"}
    assert registry.get_sample_value("colluvium_class_area_square_meters", area) is None


def test_without_a_bundle_it_is_not_ready(toy: ToyRegion) -> None:
    toy.refresh(DAY)

    answer = client(toy, loaded=False).get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["missing"] == ["no bundle is loaded"]


def test_metrics_follow_the_newest_day_and_a_backfill_does_not_move_the_gauges(toy: ToyRegion) -> None:
    registry = CollectorRegistry()
    client(toy, registry=registry)
    newest = toy.refresh(DAY)[0].layer
    toy.refresh(DAY - timedelta(days=3))
    assert newest is not None

    start = registry.get_sample_value("colluvium_layer_day_timestamp_seconds")
    assert start == newest.valid_from.timestamp()
    for area in newest.areas:
        if area.zone == "":
            labels = {"class": area.label, "lead": "0"}
            assert registry.get_sample_value("colluvium_class_area_square_meters", labels) == area.area_m2
            assert registry.get_sample_value("colluvium_class_area_ratio", labels) == area.ratio
    assert registry.get_sample_value("colluvium_refresh_total", {"outcome": "published"}) == 2
    assert registry.get_sample_value("colluvium_layer_status", {"status": "complete"}) == 1


def test_growth_metrics_are_absent_until_there_is_a_day_to_compare_with(toy: ToyRegion) -> None:
    registry = CollectorRegistry()
    client(toy, registry=registry)
    labels = {"zone": "", "class": "high", "lead": "0", "days": "1"}
    toy.refresh(DAY)
    assert registry.get_sample_value("colluvium_class_area_change_square_meters", labels) is None

    toy.refresh(DAY + timedelta(days=1))

    assert registry.get_sample_value("colluvium_class_area_change_square_meters", labels) is not None


def test_files_of_the_layer_come_by_name_and_nothing_else(toy: ToyRegion) -> None:
    toy.refresh(DAY)
    http = client(toy)

    part = http.get("/latest/class.tif", headers={"Range": "bytes=0-3"})
    assert part.status_code == 206
    assert part.content in (b"II*\x00", b"II+\x00")
    for name in ("ledger.sqlite", "..%2Fledger.sqlite", "%2e%2e/item.json", "class.tif.aux.xml"):
        assert http.get(f"/latest/{name}").status_code in (404, 405), name


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_no_endpoint_changes_state(toy: ToyRegion, method: str) -> None:
    http = client(toy)

    for path in ("/", "/latest", "/latest/class.tif", "/status", "/metrics", "/map.png"):
        assert http.request(method, path).status_code == 405


def test_the_page_escapes_what_comes_from_outside(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text().replace("Toy valley", "<script>alert(1)</script>"))

    assert "<script>" not in client(toy).get("/").text


def test_a_picture_has_limits(toy: ToyRegion) -> None:
    toy.refresh(DAY)
    http = client(toy)

    for shows in ("class", "susceptibility"):
        assert http.get(f"/map.png?width=200&shows={shows}").content.startswith(b"\x89PNG")
    assert http.get("/map.png?shows=../ledger").status_code == 422
    assert http.get("/map.png?width=100000").status_code == 422


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/latest/ledger.sqlite", 404), ("/map.png?width=1", 422)]
)
def test_errors_are_problem_documents(toy: ToyRegion, path: str, status: int) -> None:
    toy.refresh(DAY)

    answer = client(toy).get(path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_ledger_that_cannot_be_read_is_unavailable_and_says_why(toy: ToyRegion) -> None:
    (toy.data / "ledger.sqlite").write_bytes(b"not a database, but longer than one page header" * 99)

    answer = client(toy, loaded=False).get("/readyz")

    assert answer.status_code == 503
    assert "ledger.sqlite" in answer.json()["detail"]


def test_a_file_that_went_missing_is_named(toy: ToyRegion) -> None:
    layer = toy.refresh(DAY)[0].layer
    assert layer is not None
    (layer.folder / "areas.gpkg").unlink()

    answer = client(toy, loaded=False).get("/latest/areas.gpkg")

    assert answer.status_code == 503
    assert "areas.gpkg" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/latest/class.tif", "/map.png"])
def test_files_answer_to_head_and_are_sent_again_only_when_they_change(toy: ToyRegion, path: str) -> None:
    toy.refresh(DAY)
    http = client(toy, loaded=False)
    head = http.head(path)
    assert head.status_code == 200
    assert head.content == b""
    same = {"If-None-Match": head.headers["etag"]}
    assert http.get(path, headers=same).status_code == 304

    toy.refresh(DAY + timedelta(days=1))

    assert http.get(path, headers=same).status_code == 200


def test_the_links_of_the_latest_item_lead_to_its_files(toy: ToyRegion) -> None:
    toy.refresh(DAY)
    http = client(toy, loaded=False)

    item = http.get("/latest")

    for asset in item.json()["assets"].values():
        assert http.head(str(item.url.join(asset["href"]))).status_code == 200


def test_looking_makes_no_files_where_the_data_folder_is_away(toy: ToyRegion) -> None:
    toy.data.rename(toy.folder / "unmounted")
    http = client(toy, loaded=False)

    for path in ("/", "/status", "/metrics", "/readyz", "/latest"):
        assert http.get(path).status_code in (200, 404, 503), path

    assert not toy.data.exists()
