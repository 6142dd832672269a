"""The QGIS project and styles over HTTP."""

from __future__ import annotations

import io
import zipfile
from datetime import date, timedelta

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.ledger import Ledger
from tests.fix_region import ToyRegion

DAY = date(2026, 3, 5)
EXPORTER = """
[[exporters]]
kind = "postgis"
name = "gis"
schema = "toy_schema"
writer = { dsn = "host=db dbname=landslides user=writer_login" }
"""


def client(toy: ToyRegion) -> TestClient:
    return TestClient(create_app(toy.settings, toy.clock, bundle=None), base_url="http://map.test:8080")


def project_text(body: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return archive.read(archive.namelist()[0]).decode()


def test_without_a_layer_there_is_no_project_and_the_answer_says_so(toy: ToyRegion) -> None:
    answer = client(toy).get("/qgis/project.qgz")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_links_lead_back_to_where_the_request_came_or_to_the_public_address(toy: ToyRegion) -> None:
    toy.refresh(DAY)

    text = project_text(client(toy).get("/qgis/project.qgz").content)
    assert "http://map.test:8080/zones" in text

    with toy.config.open("a") as file:
        file.write('\n[web]\npublic_url = "https://map.example.org/"\n')
    text = project_text(client(toy).get("/qgis/project.qgz").content)
    assert "https://map.example.org/zones" in text
    assert "map.test" not in text


def test_a_withdrawn_day_is_not_in_the_project(toy: ToyRegion) -> None:
    withdrawn, _ = (one.layer for one in toy.refresh(DAY, DAY + timedelta(days=1)))
    assert withdrawn is not None
    assert withdrawn.id in project_text(client(toy).get("/qgis/project.qgz").content)

    with toy.ledger() as ledger:
        ledger.withdraw(withdrawn, "a tester", "to see", [])

    assert withdrawn.id not in project_text(client(toy).get("/qgis/project.qgz").content)


def test_a_layer_withdrawn_while_the_project_is_made_breaks_nothing(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.refresh(DAY)
    monkeypatch.setattr(Ledger, "shown", lambda *_: [])
    assert client(toy).get("/qgis/project.qgz").status_code == 200


def test_a_project_is_sent_again_only_when_it_changed(toy: ToyRegion) -> None:
    toy.refresh(DAY)
    http = client(toy)
    first = http.get("/qgis/project.qgz")
    known = {"If-None-Match": first.headers["etag"]}
    assert http.get("/qgis/project.qgz", headers=known).status_code == 304

    toy.refresh(DAY + timedelta(days=1))

    again = http.get("/qgis/project.qgz", headers=known)
    assert again.status_code == 200
    assert again.content != first.content
    assert 'filename="colluvium-toy.qgz"' in again.headers["content-disposition"]


def test_the_database_is_named_without_its_login_and_may_be_left_out(toy: ToyRegion) -> None:
    toy.refresh(DAY)
    with toy.config.open("a") as file:
        file.write(EXPORTER)
    http = client(toy)

    text = project_text(http.get("/qgis/project.qgz").content)
    assert "toy_schema" in text
    assert "writer_login" not in text
    without = project_text(http.get("/qgis/project.qgz?postgis=leave_out").content)
    assert "toy_schema" not in without
    assert http.get("/qgis/project.qgz?postgis=perhaps").status_code == 422


def test_styles_come_by_name_and_an_unknown_one_is_told_the_names(toy: ToyRegion) -> None:
    http = client(toy)

    style = http.get("/qgis/styles/class.qml")
    assert style.status_code == 200
    assert b"paletteEntry" in style.content
    assert http.head("/qgis/styles/class.qml").status_code == 200
    answer = http.get("/qgis/styles/..%2Fclass.qml")
    assert answer.status_code == 404
    assert "susceptibility" in http.get("/qgis/styles/nothing.qml").json()["detail"]
    assert http.post("/qgis/styles/class.qml").status_code == 405
