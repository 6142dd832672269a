"""The ledger: what was run, on which inputs, how it ended; layers; the journal of human acts.

The outbox (`Ledger.outbox`), what people reported from the field (`Ledger.proposals`), what detectors found
(`Ledger.detections`), the inventory of landslides (`Ledger.events`), the levels of zones (`Ledger.levels`)
and the versions of inputs (`Ledger.inputs`) are parts of it; human acts are in `service.ledger_acts`.

ledger.sqlite is the truth about what is published. Files on disk that it does not name do not count.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Self

from exporters.layer import Layer, LayerStatus
from service.cap_messages import CapMessages
from service.drills import Drills
from service.errors import Outcome
from service.ledger_acts import HumanActs
from service.ledger_detections import Detections
from service.ledger_displays import Displays
from service.ledger_events import Events
from service.ledger_inputs import Inputs
from service.ledger_levels import Levels
from service.ledger_promotions import Promotions
from service.ledger_rows import Run, ShownLayer, Standing, run_of, shown_of, standing_of
from service.ledger_schema import MIGRATIONS
from service.ledger_verifications import Verifications
from service.outbox import Outbox
from service.proposals import Proposals
from service.sqlite import open_database
from service.stamps import from_stamp, to_stamp

_LAYER = "SELECT record, withdrawn_at FROM layer a"
# Areas and levels of many zones are nearly all of a record: SQLite leaves them out faster than Python reads.
_BARE = "json_remove(record, '$.areas', '$.warnings')"
_OF_REGION = (
    f"json_set({_BARE}, '$.areas', (SELECT json_group_array(json(value))"  # noqa: S608
    " FROM json_each(a.record, '$.areas') WHERE json_extract(value, '$.zone') = ''))"
)


class Ledger(HumanActs):
    """ledger.sqlite. One object for one thread; a daemon's API opens its own.

    Paths are kept relative to the ledger's own folder, so that a data folder may be moved, or mounted
    elsewhere, with all that is in it.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime], *, make: bool = True) -> None:
        """Open the ledger; `make` = False is for those who only look, and makes no file."""
        self.path = path
        self.clock = clock
        self._db = open_database(path, MIGRATIONS, "ledger", make=make)
        self._db.row_factory = sqlite3.Row
        self.outbox = Outbox(self._db, self._now)
        self.proposals = Proposals(self._db, self._now)
        self.events = Events(self._db, self._now, self._write_act)
        self.detections = Detections(self._db, self._now, self.events, self._write_act, path.parent)
        self.levels = Levels(self._db)
        self.drills = Drills(self._db, self._now)
        self.cap = CapMessages(self._db, self._now)
        self.inputs = Inputs(self._db, self._now, path.parent)
        self.promotions = Promotions(self._db, self._now, path.parent)
        self.displays = Displays(self._db, path.parent)
        self.verifications = Verifications(self._db, self._now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # --- runs ---

    def start_run(self, kind: str, day: date | None, lead: int = 0) -> int:
        """Note that a run begins and return its id."""
        cursor = self._db.execute(
            "INSERT INTO run (kind, day, lead, started_at) VALUES (?, ?, ?, ?)",
            (kind, day.isoformat() if day else None, lead, self._now()),
        )
        return int(cursor.lastrowid or 0)

    def end_run(
        self,
        run: int,
        outcome: Outcome,
        *,
        day: date | None = None,
        label: str | None = None,
        reason: str | None = None,
        layer_id: str | None = None,
        cells: int | None = None,
        seconds: dict[str, float] | None = None,
    ) -> None:
        """Note how a run ended."""
        self._db.execute(
            "UPDATE run SET ended_at = ?, outcome = ?, day = coalesce(?, day), label = ?, reason = ?,"
            " layer_id = ?, cells = ?, seconds = ? WHERE id = ?",
            (
                self._now(),
                outcome.value,
                day.isoformat() if day else None,
                label,
                reason,
                layer_id,
                cells,
                json.dumps(seconds or {}),
                run,
            ),
        )

    def close_dead_runs(self) -> int:
        """Mark runs that never ended as abandoned. Only the holder of the lock may call this."""
        cursor = self._db.execute(
            "UPDATE run SET ended_at = ?, outcome = 'abandoned', label = 'died',"
            " reason = 'the process died before the end' WHERE ended_at IS NULL",
            (self._now(),),
        )
        return cursor.rowcount

    def runs(
        self, limit: int = 50, kind: str | None = None, lead: int | None = None, since: date | None = None
    ) -> list[Run]:
        """Return the newest runs (of one kind: refresh, replay; of one lead), newest first.

        With `since`, those of that day and later ones, and those that ended before they knew their day.
        """
        rows = self._db.execute(
            "SELECT * FROM run WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR lead = ?2)"
            " AND (?3 IS NULL OR day IS NULL OR day >= ?3) ORDER BY id DESC LIMIT ?4",
            (kind, lead, since.isoformat() if since else None, limit),
        )
        return [run_of(row) for row in rows]

    def last_success(self) -> Run | None:
        """Return the newest refresh of the newest day shown that ended published or unchanged.

        A backfill of older days says nothing about whether the map is being kept.
        """
        latest = self.latest()
        row = self._db.execute(
            "SELECT * FROM run WHERE kind = 'refresh' AND outcome IN ('published', 'unchanged')"
            " AND day = ? AND lead = 0 ORDER BY id DESC LIMIT 1",
            (latest.day.isoformat() if latest else None,),
        ).fetchone()
        return run_of(row) if row else None

    def outcome_counts(self) -> dict[Outcome, int]:
        """Count refreshes by outcome; every outcome is there, from zero."""
        rows = self._db.execute(
            "SELECT outcome, count(*) FROM run WHERE kind = 'refresh' AND outcome IS NOT NULL"
            " GROUP BY outcome"
        )
        found = {Outcome(row[0]): int(row[1]) for row in rows}
        return {outcome: found.get(outcome, 0) for outcome in Outcome}

    def cells_total(self) -> int:
        """Cells of all layers ever published."""
        row = self._db.execute(
            "SELECT coalesce(sum(cells), 0) FROM run WHERE outcome = 'published'"
        ).fetchone()
        return int(row[0])

    # --- layers ---

    def add_layer(self, layer: Layer, basis: dict[str, str], exporters: Sequence[str]) -> None:
        """Record a layer and put it in the outbox of every exporter. Call inside a transaction."""
        record = layer.model_dump(mode="json", exclude={"hotspots"}) | {"folder": self._kept(layer.folder)}
        self._db.execute(
            "INSERT INTO layer (id, day, lead, revision, digest, issued_at, record, basis)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                layer.id,
                layer.day.isoformat(),
                layer.lead,
                layer.revision,
                layer.digest,
                to_stamp(layer.issued_at),
                json.dumps(record),
                json.dumps(basis),
            ),
        )
        self.outbox.put(layer.id, "deliver", exporters)

    def withdraw(self, layer: Layer, by: str, reason: str, exporters: Sequence[str]) -> Layer:
        """Withdraw a layer: journal, status and outbox in one transaction; return it as withdrawn."""
        withdrawn = layer.model_copy(update={"status": LayerStatus.WITHDRAWN})
        with self.transaction():
            self._db.execute(
                "UPDATE layer SET withdrawn_at = ? WHERE id = ? AND withdrawn_at IS NULL",
                (self._now(), layer.id),
            )
            self._write_act("withdraw", layer.id, by, reason)
            self.outbox.put(layer.id, "withdraw", exporters)
        return withdrawn

    def layer(self, identity: str) -> Layer | None:
        """Return one layer by id."""
        return self._one_layer(f"{_LAYER} WHERE id = ?", (identity,))

    def basis(self, identity: str) -> dict[str, str]:
        """Return the digests of everything a layer was made from."""
        row = self._db.execute("SELECT basis FROM layer WHERE id = ?", (identity,)).fetchone()
        return dict(json.loads(row["basis"])) if row else {}

    def newest_revision(self, day: date, lead: int = 0, as_of: datetime | None = None) -> Layer | None:
        """Return the newest revision of a day, withdrawn or not."""
        return self._one_layer(
            f"{_LAYER} WHERE day = ? AND lead = ? AND issued_at <= ? ORDER BY revision DESC LIMIT 1",
            (day.isoformat(), lead, _bound(as_of)),
            as_of,
        )

    def current(self, day: date, lead: int = 0, as_of: datetime | None = None) -> Layer | None:
        """Return the layer shown for a day: its newest revision, unless that was withdrawn."""
        newest = self.newest_revision(day, lead, as_of)
        return newest if newest and newest.status != LayerStatus.WITHDRAWN else None

    def latest(self, *, before: date | None = None, as_of: datetime | None = None) -> Layer | None:
        """Return the newest nowcast shown (lead 0, not withdrawn), of a day before `before` if given.

        Layers whose files were removed are passed over: there is nothing to show.
        """
        bound = _bound(as_of)
        return self._one_layer(
            f"{_LAYER} WHERE a.lead = 0 AND (a.withdrawn_at IS NULL OR a.withdrawn_at > ?) AND a.day < ?"  # noqa: S608
            " AND a.removed_at IS NULL AND a.issued_at <= ? AND NOT EXISTS (SELECT 1 FROM layer b"
            " WHERE b.day = a.day AND b.lead = a.lead AND b.revision > a.revision AND b.issued_at <= ?)"
            " ORDER BY a.day DESC LIMIT 1",
            (bound, before.isoformat() if before else "9999", bound, bound),
            as_of,
        )

    def forecasts_issued(self) -> dict[int, datetime]:
        """Return by lead when the newest forecast was made that was not withdrawn, current or not."""
        rows = self._db.execute(
            "SELECT lead, max(issued_at) FROM layer WHERE lead > 0 AND withdrawn_at IS NULL GROUP BY lead"
        )
        return {row[0]: from_stamp(row[1]) for row in rows}

    def layers(
        self,
        since: date | None = None,
        until: date | None = None,
        *,
        withdrawn_only: bool = False,
        with_zones: bool = True,
        with_areas: bool = True,
    ) -> list[Layer]:
        """Return all revisions of all days (or those withdrawn), oldest day first.

        Without zones a layer has the areas of the whole region only, and no levels; without areas it has
        neither. Years of many zones are gigabytes otherwise.
        """
        record = "record" if with_zones and with_areas else _OF_REGION if with_areas else _BARE
        rows = self._db.execute(
            f"SELECT {record} AS record, withdrawn_at FROM layer a"  # noqa: S608
            " WHERE day >= ? AND day <= ? AND (withdrawn_at IS NOT NULL OR NOT ?)"
            " ORDER BY day, lead, revision",
            (since.isoformat() if since else "0000", until.isoformat() if until else "9999", withdrawn_only),
        )
        return [self._layer(row) for row in rows]

    def shown(self, since: date, until: date) -> list[ShownLayer]:
        """Return where the nowcasts shown for days `since` to `until` lie, oldest first, without their areas.

        Reading a year of whole records takes a hundred times as long.
        """
        rows = self._db.execute(
            "SELECT a.id, a.day, a.digest, json_extract(a.record, '$.folder') AS folder,"
            " json_extract(a.record, '$.classes.breaks') AS breaks,"
            " json_extract(a.record, '$.model.digest') AS model,"
            " json_array(json_extract(a.record, '$.crs'), json_extract(a.record, '$.bounds'),"
            " json_extract(a.record, '$.shape')) AS grid FROM layer a"
            " WHERE a.lead = 0 AND a.withdrawn_at IS NULL AND a.removed_at IS NULL AND a.day BETWEEN ? AND ?"
            " AND NOT EXISTS (SELECT 1 FROM layer b WHERE b.day = a.day AND b.lead = a.lead"
            " AND b.revision > a.revision) ORDER BY a.day",
            (since.isoformat(), until.isoformat()),
        )
        return [shown_of(row, self._place(row["folder"])) for row in rows]

    def first_day(self) -> date | None:
        """Return the oldest day that ever had a nowcast."""
        row = self._db.execute("SELECT min(day) FROM layer WHERE lead = 0").fetchone()
        return date.fromisoformat(row[0]) if row[0] else None

    def is_withdrawn(self, day: date, digest: str, lead: int = 0) -> bool:
        """Tell whether a layer of that day that was made from the same inputs was withdrawn."""
        row = self._db.execute(
            "SELECT 1 FROM layer WHERE day = ? AND lead = ? AND digest = ? AND withdrawn_at IS NOT NULL",
            (day.isoformat(), lead, digest),
        ).fetchone()
        return row is not None

    def bases(self, since: date, until: date) -> dict[str, dict[str, str]]:
        """Return the digests behind each layer of the days `since` to `until`, by its id."""
        rows = self._db.execute(
            "SELECT id, basis FROM layer WHERE day BETWEEN ? AND ?", (since.isoformat(), until.isoformat())
        )
        return {row["id"]: dict(json.loads(row["basis"])) for row in rows}

    def folders(self) -> set[str]:
        """Return the folder of every recorded layer whose files are kept."""
        return self._folders("removed_at IS NULL")

    def removed_folders(self) -> set[str]:
        """Return the folders that retention gave up, and that no later layer has taken."""
        return self._folders("removed_at IS NOT NULL") - self.folders()

    def removed_at(self, identity: str) -> datetime | None:
        """Return when a layer's files were removed from the local disk; None where they are kept."""
        row = self._db.execute("SELECT removed_at FROM layer WHERE id = ?", (identity,)).fetchone()
        return from_stamp(row["removed_at"]) if row and row["removed_at"] else None

    def standings(self) -> list[Standing]:
        """Return how each layer stands, all revisions of all days, oldest day first, without its record."""
        rows = self._db.execute(
            "SELECT id, day, lead, revision, issued_at, withdrawn_at, removed_at,"
            " revision = max(revision) OVER (PARTITION BY day, lead) AS newest FROM layer"
            " ORDER BY day, lead, revision"
        )
        return [standing_of(row) for row in rows]

    def mark_removed(self, identities: Sequence[str]) -> None:
        """Note that these layers' files are no longer kept. Call inside a transaction, then remove them."""
        self._db.executemany(
            "UPDATE layer SET removed_at = ? WHERE id = ? AND removed_at IS NULL",
            [(self._now(), identity) for identity in identities],
        )

    # --- scores of forecasts ---

    def keep_scores(self, issued_on: date, record: str) -> None:
        """Keep the scores of forecasts (JSON) as they stood on a day; later ones of the day replace them."""
        self._db.execute(
            "INSERT INTO forecast_score (issued_on, made_at, record) VALUES (?, ?, ?)"
            " ON CONFLICT (issued_on) DO UPDATE SET made_at = excluded.made_at, record = excluded.record",
            (issued_on.isoformat(), self._now(), record),
        )

    def newest_scores(self) -> str | None:
        """Return the scores that were kept last, as JSON; None where there are none."""
        row = self._db.execute("SELECT record FROM forecast_score ORDER BY issued_on DESC LIMIT 1").fetchone()
        return str(row["record"]) if row else None

    # --- helpers ---

    def _kept(self, path: Path) -> str:
        root = self.path.parent
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def _place(self, kept: str) -> Path:
        return self.path.parent / kept

    def _folders(self, condition: str) -> set[str]:
        rows = self._db.execute(f"SELECT json_extract(record, '$.folder') FROM layer WHERE {condition}")  # noqa: S608
        return {str(self._place(row[0])) for row in rows}

    def _one_layer(
        self, sql: str, parameters: tuple[object, ...], as_of: datetime | None = None
    ) -> Layer | None:
        row = self._db.execute(sql, parameters).fetchone()
        return self._layer(row, as_of) if row else None

    def _layer(self, row: sqlite3.Row, as_of: datetime | None = None) -> Layer:
        """Return a layer as it stood: a withdrawal after `as_of` had not happened yet."""
        layer = Layer.model_validate_json(row["record"])
        withdrawn = row["withdrawn_at"] is not None and row["withdrawn_at"] <= _bound(as_of)
        status = LayerStatus.WITHDRAWN if withdrawn else layer.status
        return layer.model_copy(update={"folder": self._place(str(layer.folder)), "status": status})


def _bound(as_of: datetime | None) -> str:
    return to_stamp(as_of) if as_of else "9999"
