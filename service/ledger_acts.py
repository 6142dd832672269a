"""The human acts of the ledger: each changes what it decides on and the journal in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path
from typing import Any

from exporters.layer import LEVEL_LABELS
from service.drills import Drill, Drills
from service.errors import UsageError
from service.ledger_events import Events
from service.ledger_promotions import Promotion, Promotions
from service.ledger_rows import Act
from service.outbox import Outbox
from service.proposals import Decision, Proposal, Proposals, event_of
from service.sqlite import Database, transaction
from service.stamps import from_stamp, to_stamp


class HumanActs:
    """The part of the ledger that people write. `service.ledger.Ledger` opens it."""

    clock: Callable[[], datetime]
    outbox: Outbox
    proposals: Proposals
    events: Events
    promotions: Promotions
    drills: Drills
    _db: Database

    def transaction(self) -> AbstractContextManager[None]:
        """All of the block is kept, or none of it."""
        return transaction(self._db)

    def write_act(self, act: str, subject: str, by: str, reason: str) -> None:
        """Append to the journal."""
        with self.transaction():
            self._write_act(act, subject, by, reason)

    def retry(self, exporter: str, by: str, reason: str) -> int:
        """Have what an exporter parked, or waits with, tried at once, and write that to the journal."""
        with self.transaction():
            count = self.outbox.retry(exporter)
            self._write_act("retry", exporter, by, reason)
        return count

    def drop(self, exporter: str, by: str, reason: str) -> int:
        """Give up what an exporter has not delivered, and write that to the journal."""
        with self.transaction():
            count = self.outbox.drop(exporter)
            self._write_act("drop", exporter, by, reason)
        return count

    def decide(
        self,
        number: int,
        decision: Decision,
        by: str,
        reason: str,
        *,
        day: date | None = None,
        after: date | None = None,
    ) -> Proposal:
        """Accept or reject a report; return it as decided.

        Its state, its event in the inventory and the journal change in one transaction. A landslide happened
        on the day of its observation, unless `day` says when it did, or `after` the last day on which it had
        not.

        Raises UsageError where there is none of that number, it was decided so already, or the days cannot
        be.
        """
        with self.transaction():
            proposal = self.proposals.decide(number, decision, by, reason)
            self.events.take_out(proposal.uid)
            if decision == "accepted":
                self.events.put(event_of(proposal, day, after))
            self._write_act(decision.removesuffix("ed"), f"report {proposal.uid}", by, reason)
        return proposal

    def promote(
        self, path: Path, digest: str, instead_of: Path, by: str, reason: str, evidence: dict[str, Any]
    ) -> Promotion:
        """Let a bundle serve in place of the settings' one: its row and the journal in one transaction."""
        with self.transaction():
            number = self.promotions.add(path, digest, instead_of, by, reason, evidence)
            self._write_act("promote", f"bundle {digest[:16]}", by, reason)
        return next(promotion for promotion in self.promotions.all() if promotion.id == number)

    def start_drill(self, zone: str, level: int, ends_at: datetime, by: str, reason: str) -> Drill:
        """Begin an exercise: its row and the journal in one transaction.

        Raises UsageError where one runs in that zone already: nobody could tell the two apart.
        """
        with self.transaction():
            if any(drill.zone == zone for drill in self.drills.running(self.clock())):
                where = f"in {zone}" if zone else "here"
                raise UsageError(
                    f"an exercise runs {where} already; end it with 'colluvium alerts drill --end'"
                )
            number = self.drills.start(zone, level, ends_at, by, reason)
            self._write_act("drill", f"{zone or 'region'} {LEVEL_LABELS[level]}", by, reason)
        return next(drill for drill in self.drills.all() if drill.id == number)

    def end_drills(self, zone: str | None, by: str, reason: str) -> list[Drill]:
        """End the exercises that run, in one zone or (None) in all, and return them as ended."""
        with self.transaction():
            running = [
                drill for drill in self.drills.running(self.clock()) if zone is None or drill.zone == zone
            ]
            for drill in running:
                self.drills.end(drill.id)
                self._write_act(
                    "end drill", f"{drill.zone or 'region'} {LEVEL_LABELS[drill.level]}", by, reason
                )
        ended = {drill.id for drill in running}
        return [drill for drill in self.drills.all() if drill.id in ended]

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

    def _now(self) -> str:
        return to_stamp(self.clock())

    def _write_act(self, act: str, subject: str, by: str, reason: str) -> None:
        self._db.execute(
            "INSERT INTO journal (at, act, subject, by_whom, reason) VALUES (?, ?, ?, ?, ?)",
            (self._now(), act, subject, by, reason),
        )
