"""The ledger: what was run, on which inputs, how it ended; layers; the journal of human acts; the outbox.

ledger.sqlite is the truth about what is published. Files on disk that it does not name do not count.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path
from typing import Self

from exporters.layer import Layer, LayerStatus
from service.errors import Outcome
from service.ledger_rows import Act, Delivery, OutboxCount, Run, run_of
from service.ledger_schema import MIGRATIONS
from service.sqlite import open_database, transaction
from service.stamps import from_stamp, to_stamp

_LAYER = "SELECT record, withdrawn_at FROM layer a"


class Ledger:
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def transaction(self) -> AbstractContextManager[None]:
        """All of the block is kept, or none of it."""
        return transaction(self._db)

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

    def runs(self, limit: int = 50, kind: str | None = None) -> list[Run]:
        """Return the newest runs (of one kind: refresh, replay), newest first."""
        rows = self._db.execute(
            "SELECT * FROM run WHERE ? IS NULL OR kind = ? ORDER BY id DESC LIMIT ?", (kind, kind, limit)
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
        self._enqueue(layer.id, "deliver", exporters)

    def withdraw(self, layer: Layer, by: str, reason: str, exporters: Sequence[str]) -> Layer:
        """Withdraw a layer: journal, status and outbox in one transaction; return it as withdrawn."""
        withdrawn = layer.model_copy(update={"status": LayerStatus.WITHDRAWN})
        with self.transaction():
            self._db.execute(
                "UPDATE layer SET withdrawn_at = ? WHERE id = ? AND withdrawn_at IS NULL",
                (self._now(), layer.id),
            )
            self._write_act("withdraw", layer.id, by, reason)
            self._enqueue(layer.id, "withdraw", exporters)
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
        """Return the newest nowcast shown (lead 0, not withdrawn), of a day before `before` if given."""
        bound = _bound(as_of)
        return self._one_layer(
            f"{_LAYER} WHERE a.lead = 0 AND (a.withdrawn_at IS NULL OR a.withdrawn_at > ?) AND a.day < ?"  # noqa: S608
            " AND a.issued_at <= ? AND NOT EXISTS (SELECT 1 FROM layer b WHERE b.day = a.day"
            " AND b.lead = a.lead AND b.revision > a.revision AND b.issued_at <= ?)"
            " ORDER BY a.day DESC LIMIT 1",
            (bound, before.isoformat() if before else "9999", bound, bound),
            as_of,
        )

    def layers(
        self, since: date | None = None, until: date | None = None, *, withdrawn_only: bool = False
    ) -> list[Layer]:
        """Return all revisions of all days (or those withdrawn), oldest day first."""
        rows = self._db.execute(
            f"{_LAYER} WHERE day >= ? AND day <= ? AND (withdrawn_at IS NOT NULL OR NOT ?)"
            " ORDER BY day, lead, revision",
            (since.isoformat() if since else "0000", until.isoformat() if until else "9999", withdrawn_only),
        )
        return [self._layer(row) for row in rows]

    def first_day(self) -> date | None:
        """Return the oldest day that ever had a layer."""
        row = self._db.execute("SELECT min(day) FROM layer").fetchone()
        return date.fromisoformat(row[0]) if row[0] else None

    def is_withdrawn(self, day: date, digest: str, lead: int = 0) -> bool:
        """Tell whether a layer of that day that was made from the same inputs was withdrawn."""
        row = self._db.execute(
            "SELECT 1 FROM layer WHERE day = ? AND lead = ? AND digest = ? AND withdrawn_at IS NOT NULL",
            (day.isoformat(), lead, digest),
        ).fetchone()
        return row is not None

    def folders(self) -> set[str]:
        """Return the folder of every recorded layer."""
        rows = self._db.execute("SELECT json_extract(record, '$.folder') FROM layer")
        return {str(self._place(row[0])) for row in rows}

    # --- human acts ---

    def write_act(self, act: str, subject: str, by: str, reason: str) -> None:
        """Append to the journal."""
        with self.transaction():
            self._write_act(act, subject, by, reason)

    def journal(self) -> list[Act]:
        """Return all human acts, oldest first."""
        rows = self._db.execute("SELECT * FROM journal ORDER BY id")
        return [
            Act(row["id"], from_stamp(row["at"]), row["act"], row["subject"], row["by_whom"], row["reason"])
            for row in rows
        ]

    def hold(self, as_of: datetime | None = None) -> Act | None:
        """Return the hold that is in force, if any."""
        acts = [act for act in self.journal() if act.act in ("hold", "resume")]
        acts = [act for act in acts if as_of is None or act.at <= as_of]
        return acts[-1] if acts and acts[-1].act == "hold" else None

    # --- outbox ---

    def pending(self, exporter: str) -> list[Delivery]:
        """Return what an exporter has yet to deliver, in order."""
        rows = self._db.execute(
            "SELECT * FROM outbox WHERE exporter = ? AND state = 'pending' ORDER BY id", (exporter,)
        )
        return [
            Delivery(
                row["id"],
                row["exporter"],
                row["layer_id"],
                row["act"],
                row["attempts"],
                from_stamp(row["retry_at"]) if row["retry_at"] else None,
            )
            for row in rows
        ]

    def delivered(self, delivery: Delivery) -> None:
        """Note a delivery."""
        self._db.execute(
            "UPDATE outbox SET state = 'delivered', attempts = attempts + 1, ended_at = ? WHERE id = ?",
            (self._now(), delivery.id),
        )

    def delivery_failed(self, delivery: Delivery, error: str, retry_at: datetime | None) -> None:
        """Note a failed delivery: tried again at `retry_at`, or parked for good where that is None."""
        self._db.execute(
            "UPDATE outbox SET attempts = attempts + 1, errors = errors + 1, last_error = ?, retry_at = ?,"
            " state = CASE WHEN ? IS NULL THEN 'parked' ELSE 'pending' END WHERE id = ?",
            (error, to_stamp(retry_at) if retry_at else None, 1 if retry_at else None, delivery.id),
        )

    def outbox_counts(self, exporters: Sequence[str]) -> list[OutboxCount]:
        """Return the outbox in figures, one row for each exporter, from zero."""
        rows = self._db.execute(
            "SELECT exporter, sum(state = 'pending') AS pending, sum(state = 'parked') AS parked,"
            " sum(attempts) AS attempts, sum(errors) AS errors FROM outbox GROUP BY exporter"
        )
        found = {row["exporter"]: row for row in rows}
        counts = []
        for name in exporters:
            row = found.get(name)
            if row is None:
                counts.append(OutboxCount(name, 0, 0, 0, 0, None))
                continue
            error = self._db.execute(
                "SELECT last_error FROM outbox WHERE exporter = ? AND state != 'delivered'"
                " AND last_error IS NOT NULL ORDER BY id LIMIT 1",
                (name,),
            ).fetchone()
            counts.append(
                OutboxCount(
                    name,
                    row["pending"],
                    row["parked"],
                    row["attempts"],
                    row["errors"],
                    error["last_error"] if error else None,
                )
            )
        return counts

    # --- versions of inputs ---

    def remember_input(self, kind: str, digest: str, path: Path) -> None:
        """Note that from now on an input has this digest, unless it had it already."""
        row = self._db.execute(
            "SELECT digest FROM input_version WHERE kind = ? ORDER BY id DESC LIMIT 1", (kind,)
        ).fetchone()
        if row is None or row["digest"] != digest:
            self._db.execute(
                "INSERT INTO input_version (kind, digest, since, path) VALUES (?, ?, ?, ?)",
                (kind, digest, self._now(), self._kept(path)),
            )

    def input_at(self, kind: str, moment: datetime) -> tuple[str, Path, bool] | None:
        """Return digest and path of an input as it was, and whether it was recorded by then."""
        for order, bound in (("DESC", to_stamp(moment)), ("ASC", "9999")):
            row = self._db.execute(
                f"SELECT digest, path, since FROM input_version WHERE kind = ? AND since <= ?"  # noqa: S608
                f" ORDER BY id {order} LIMIT 1",
                (kind, bound),
            ).fetchone()
            if row is not None:
                return row["digest"], self._place(row["path"]), order == "DESC"
        return None

    # --- helpers ---

    def _kept(self, path: Path) -> str:
        root = self.path.parent
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def _place(self, kept: str) -> Path:
        return self.path.parent / kept

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

    def _now(self) -> str:
        return to_stamp(self.clock())

    def _write_act(self, act: str, subject: str, by: str, reason: str) -> None:
        self._db.execute(
            "INSERT INTO journal (at, act, subject, by_whom, reason) VALUES (?, ?, ?, ?, ?)",
            (self._now(), act, subject, by, reason),
        )

    def _enqueue(self, layer_id: str, act: str, exporters: Sequence[str]) -> None:
        self._db.executemany(
            "INSERT INTO outbox (exporter, layer_id, act, created_at, state) VALUES (?, ?, ?, ?, 'pending')",
            [(exporter, layer_id, act, self._now()) for exporter in exporters],
        )


def _bound(as_of: datetime | None) -> str:
    return to_stamp(as_of) if as_of else "9999"
