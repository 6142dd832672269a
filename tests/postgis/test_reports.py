"""Reports from the field, from a real table into the inventory."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
from rasterio.crs import CRS

from service.errors import EXIT_CODES, Outcome
from tests.fix_postgis import Database
from tests.fix_region import ToyRegion
from tests.postgis.test_outbox import DAYS, backup_of, colluvium, deliver, publish_to, restore
from trainer.inventory import InventorySource, read_inventory


def report(database: Database, kind: str = "landslide", note: str = "scar above the road") -> str:
    """Send a report as somebody in the field does; return its uid."""
    with psycopg.connect(database.field_dsn) as connection:
        row = connection.execute(
            "INSERT INTO toy.event_report (observed_on, kind, accuracy_m, note, geom)"
            " VALUES ('2026-03-09', %s, 20, %s, ST_SetSRID(ST_MakePoint(9.01, 45.15), 4326)) RETURNING uid",
            [kind, note],
        ).fetchone()
    assert row is not None
    return str(row[0])


def known(toy: ToyRegion) -> list[str]:
    """The uids of the reports that came in."""
    with toy.ledger() as ledger:
        return [proposal.uid for proposal in ledger.proposals.all()]


def test_reports_come_in_with_a_delivery_each_once(toy: ToyRegion, database: Database) -> None:
    publish_to(toy, database.writer_dsn, database.owner_dsn)
    toy.refresh(DAYS[0])
    assert deliver(toy).reports == 0
    sent = [report(database), report(database, "nothing_seen")]

    assert deliver(toy).reports == 2
    sent.append(report(database))
    assert deliver(toy).reports == 1
    assert deliver(toy).reports == 0

    assert known(toy) == sent


def test_reports_after_a_restored_backup_come_in_although_their_numbers_were_used(
    toy: ToyRegion, database: Database
) -> None:
    publish_to(toy, database.writer_dsn, database.owner_dsn)
    toy.refresh(DAYS[0])
    deliver(toy)
    first = report(database)
    with backup_of(database) as backup:
        lost = [report(database) for _ in range(3)]
        deliver(toy)
        restore(database, backup)
    fresh = report(database)

    assert deliver(toy).reports == 1

    assert known(toy) == [first, *lost, fresh]


def test_a_report_goes_from_the_field_to_the_inventory_by_a_persons_decision(
    toy: ToyRegion, database: Database, tmp_path: Path
) -> None:
    publish_to(toy, database.writer_dsn, database.owner_dsn)
    toy.refresh(DAYS[0])
    deliver(toy)
    config = str(toy.config)
    slide = report(database, note="\x1b[31mred\x1b[0m\nsecond line")
    visit = report(database, "nothing_seen")
    scar = report(database)
    by = ("--by", "A. Rossi", "--reason", "photo")

    assert "3 new reports" in colluvium("reports", "fetch", "-c", config)
    listed = colluvium("reports", "list", "-c", config)
    assert "\x1b" not in listed
    assert len(listed.splitlines()) == 3
    colluvium("reports", "accept", "1", "-c", config, *by)
    colluvium("reports", "accept", "2", "-c", config, *by)
    colluvium("reports", "reject", "3", "-c", config, *by)
    usage = EXIT_CODES[Outcome.USAGE]
    assert "accepted already" in colluvium("reports", "accept", "1", "-c", config, *by, status=usage)
    accepted = json.loads(colluvium("reports", "list", "-c", config, "--state", "accepted", "--json"))
    assert [row["uid"] for row in accepted["reports"]] == [slide, visit]

    out = tmp_path / "events.csv"
    colluvium("reports", "export", str(out), "-c", config)
    source = InventorySource(path=out, accuracy_column="accuracy_m")
    inventory = read_inventory(source, CRS.from_epsg(4326), ZoneInfo("UTC"))
    assert [(event.id, event.day, event.accuracy_m) for event in inventory.events] == [
        (slide, date(2026, 3, 9), 20.0)
    ]
    colluvium("reports", "export", str(out), "-c", config, "--kind", "nothing_seen")
    assert visit in out.read_text()
    assert scar not in out.read_text()
    acts = json.loads(colluvium("journal", "-c", config, "--json"))["journal"]
    assert [(act["act"], act["subject"]) for act in acts] == [
        ("accept", f"report {slide}"), ("accept", f"report {visit}"), ("reject", f"report {scar}"),
    ]  # fmt: skip
