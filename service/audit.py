"""`colluvium audit DAY`: one archive of what was shown, known, decided and sent on a day.

As it was then: later corrections, withdrawals and decisions stay out, so that an audit made a year later says
the same, as long as ledger, archive of readings and the kept inputs are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from importlib import metadata
from pathlib import Path

from exporters.cap import cap_xml
from exporters.layer import LEVEL_LABELS, Layer
from exporters.stac import ITEM, layer_item_text
from service.audit_archive import EvidenceArchive
from service.audit_events import event_tables
from service.audit_rows import READING_COLUMNS, LedgerRows, ReadingRows, opened_rows
from service.audit_shown import Display, displays
from service.audit_values import area_rows, drill_rows, level_rows, message_rows, report_row
from service.audit_words import readme
from service.bundle import read_manifest
from service.errors import BundleError, UsageError
from service.feeds.http_secrets import Masker
from service.files import replacing
from service.ledger import Ledger
from service.serving import serving_bundle
from service.settings import Settings
from service.stamps import to_stamp
from service.workshop import archive_path, ledger_path

_WINDOW_DAYS, _LAG_DAYS = 30, 1  # where no bundle can be asked: the paper's


@dataclass(frozen=True)
class Audit:
    """What was made, in figures."""

    path: Path
    region: str
    day: date
    since: datetime
    until: datetime
    whole: bool  # the day was over
    displays: tuple[Display, ...]
    layers: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)  # rows by file
    notes: tuple[str, ...] = ()  # what could not be put in

    def to_json(self) -> dict[str, object]:
        """Return it for scripts."""
        return {
            "archive": str(self.path),
            "region": self.region,
            "day": self.day.isoformat(),
            "since": to_stamp(self.since),
            "until": to_stamp(self.until),
            "layers": list(self.layers),
            "rows": self.counts,
            "notes": list(self.notes),
        }


def make_audit(settings: Settings, day: date, target: Path, now: datetime, *, rasters: bool = True) -> Audit:
    """Write the archive of a day of the region's calendar; of today, what there is until now.

    Raises UsageError for a day to come, a region without a ledger, a target that is there already.
    """
    start = datetime.combine(day, datetime.min.time(), settings.timezone)
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), settings.timezone)
    if start > now:
        raise UsageError(f"{day} has not begun in {settings.region.timezone}; nothing can be said of it")
    if target.exists():
        raise UsageError(f"{target} is there already, and an audit replaces nothing; give another --out")
    for path in (ledger_path(settings), archive_path(settings)):
        if not path.exists():
            raise UsageError(f"there is no {path}: nothing was recorded in this data folder")
    until = min(end, now)
    with (
        Ledger(ledger_path(settings), lambda: now, make=False) as ledger,
        opened_rows(ledger_path(settings), archive_path(settings), until) as (of_ledger, of_readings),
        replacing(target) as temporary,
    ):
        # It names persons: for its owner.
        temporary.touch(mode=0o600)
        # SQLite opens its view of a moment at the first look.
        writing = _Writing(settings, ledger, of_ledger, of_readings, day, start, until, end <= now, rasters)
        archive = EvidenceArchive(temporary, f"audit-{settings.region.id}-{day}", until)
        try:
            return writing.write(archive, target)
        finally:
            archive.abandon()


@dataclass
class _Writing:
    """One audit on its way into the archive, in the order of its four questions."""

    settings: Settings
    ledger: Ledger
    of_ledger: LedgerRows
    of_readings: ReadingRows
    day: date
    start: datetime
    until: datetime
    whole: bool
    rasters: bool
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    events: list[tuple[datetime, str, str, str]] = field(default_factory=list)
    mask: Masker = field(default_factory=Masker)

    def write(self, archive: EvidenceArchive, target: Path) -> Audit:
        shown = displays(self.ledger, self.start, self.until)
        layers = self._layers(shown)
        self._shown(archive, shown, layers)
        self._known(archive, layers)
        self._decided(archive, layers)
        self._sent(archive)
        self._table(
            archive,
            "timeline.csv",
            ("at", "what", "subject", "detail"),
            ((to_stamp(at), *words) for at, *words in sorted(self.events)),
        )
        audit = Audit(
            target,
            self.settings.region.id,
            self.day,
            self.start,
            self.until,
            self.whole,
            tuple(shown),
            tuple(layer.id for layer in layers),
            dict(self.counts),
            tuple(self.notes),
        )
        version = metadata.version("colluvium")
        archive.text("README.txt", readme(self.settings, audit, layers, version))
        archive.close()
        return audit

    # --- shown ---

    def _layers(self, shown: Iterable[Display]) -> list[Layer]:
        """Return the layers on display, and those published or withdrawn in the span, by day and lead."""
        wanted = {name for item in shown for name in (item.nowcast, *item.forecasts) if name}
        for standing in self.ledger.standings():
            if self._within(standing.issued_at):
                wanted.add(standing.id)
                self._event(standing.issued_at, "published", standing.id, "")
            if standing.withdrawn_at and self._within(standing.withdrawn_at):
                wanted.add(standing.id)
                self._event(standing.withdrawn_at, "withdrawn", standing.id, "")
        found = (self.ledger.layer(name) for name in wanted)
        then = [self._as_it_stood(layer) for layer in found if layer is not None]
        return sorted(then, key=lambda layer: (layer.day, layer.lead, layer.revision))

    def _as_it_stood(self, layer: Layer) -> Layer:
        as_of = self.ledger.newest_revision(layer.day, layer.lead, self.until)
        if as_of is not None and as_of.id == layer.id:
            return as_of
        return layer

    def _shown(self, archive: EvidenceArchive, shown: Sequence[Display], layers: Sequence[Layer]) -> None:
        by_id = {layer.id: layer for layer in layers}
        self._table(
            archive,
            "shown/display.csv",
            ("since", "until", "nowcast", "day", "status", "unconfirmed", "forecasts"),
            (
                (
                    to_stamp(item.since),
                    to_stamp(item.until),
                    item.nowcast,
                    *self._seen(by_id.get(item.nowcast or ""), item.since),
                    " ".join(item.forecasts),
                )
                for item in shown
            ),
        )
        self._table(
            archive,
            "shown/areas.csv",
            ("layer", "zone", "name", "class", "area_m2", "ratio", "unknown_m2", "change_m2", "change_ratio"),
            area_rows(layers),
        )
        for layer in layers:
            record = layer.model_dump(mode="json", exclude={"hotspots", "folder"})
            archive.json(f"shown/{layer.id}/layer.json", record)
            archive.json(f"shown/{layer.id}/made-from.json", self.ledger.basis(layer.id))
            self._files(archive, layer)

    def _seen(self, layer: Layer | None, at: datetime) -> tuple[object, ...]:
        if layer is None:
            return (None, None, None)
        # A withdrawal ended its time on display; until then it was what it was published as.
        then = self.ledger.newest_revision(layer.day, layer.lead, at) or layer
        return (then.day, then.status.value, then.unconfirmed)

    def _files(self, archive: EvidenceArchive, layer: Layer) -> None:
        files = [path for path in sorted(layer.folder.rglob("*")) if path.is_file()]
        if not files:
            self.notes.append(
                f"the files of {layer.id} are no longer kept; `made-from.json` says what it came from"
            )
        for path in files:
            name = f"shown/{layer.id}/{path.relative_to(layer.folder).as_posix()}"
            if path.name == ITEM:
                archive.text(name, layer_item_text(layer))  # the file says what became of it since
            elif self.rasters or path.suffix != ".tif":
                archive.copy(name, path)

    # --- known ---

    def _known(self, archive: EvidenceArchive, layers: Sequence[Layer]) -> None:
        inputs = self.of_ledger.inputs(self.until)
        self._table(archive, "known/inputs.csv", ("kind", "digest", "since", "kept_as"), inputs)
        window, lag = self._inputs(archive, {str(kind): str(path) for kind, _, _, path in inputs})
        days = [layer.day for layer in layers] or [self.day]
        first, last = min(days) - timedelta(days=window + lag), max(days)
        issues = sorted({layer.forecast.issued_at for layer in layers if layer.forecast})
        rows = self.of_readings
        self._table(archive, "known/readings.csv", READING_COLUMNS, rows.readings(first, last, issues))
        self._table(
            archive,
            "known/doubts.csv",
            ("feed", "variable", "series", "day", "value", "check", "detail", "extreme", "noted_at"),
            rows.doubts(first, last),
        )
        columns = ("feed", "variable", "day", "known_at", "issued_at", "member", "product_version", "quality")
        self._table(
            archive,
            "known/rasters.csv",
            (*columns, "reason", "sha256", "kept_as"),
            rows.rasters(first, last),
        )
        self._table(
            archive,
            "known/series.csv",
            ("feed", "variable", "series", "known_at", "longitude", "latitude", "elevation_m"),
            rows.series(),
        )
        attempts = [
            (*row[:4], self.mask(row[4]) if row[4] else None, row[5]) for row in rows.attempts(self.start)
        ]
        self._table(
            archive,
            "known/feeds.csv",
            ("at", "feed", "outcome", "problem", "words", "is_error"),
            attempts,
        )
        for at, feed, outcome, problem, words, _ in attempts:
            self._event(
                _moment(at), f"feed read: {outcome}", str(feed), f"{problem}: {words}" if words else ""
            )
        self._table(
            archive,
            "known/rejections.csv",
            ("seen_at", "feed", "file", "line", "reason", "detail", "raw"),
            rows.rejections(self.start),
        )

    def _inputs(self, archive: EvidenceArchive, kept: dict[str, str]) -> tuple[int, int]:
        """Put in what was in force and is small; return the window and lag of the bundle."""
        root = self.ledger.path.parent
        for kind in ("settings", "zones", "mask", "reservoirs"):
            if kind not in kept:
                continue
            path = root / kept[kind]
            if not path.exists():
                self.notes.append(f"the {kind} of that time were kept as {kept[kind]}, which is gone")
            elif kind == "settings":
                archive.text(f"known/{path.name}", self.mask(path.read_text("utf-8")))
            else:
                archive.copy(f"known/{path.name}", path)
        serving = serving_bundle(self.settings, self.ledger)
        folder = root / kept["bundle"] if "bundle" in kept else serving
        for name in ("manifest.json", "model-card.md"):
            if (folder / name).is_file():
                archive.copy(f"known/bundle/{name}", folder / name)
        try:
            manifest, _ = read_manifest(folder)
        except BundleError as error:
            self.notes.append(f"the bundle of that time cannot be read: {error}")
            return _WINDOW_DAYS, _LAG_DAYS
        return manifest.window_days, manifest.lag_days

    # --- decided ---

    def _decided(self, archive: EvidenceArchive, layers: Sequence[Layer]) -> None:
        columns = ("layer", "day", "lead", "zone", "name", "level", "label", "previous", "unconfirmed")
        self._table(
            archive,
            "decided/levels.csv",
            (*columns, "rule", "numbers", "reference_share", "calm_days", "decided_at"),
            level_rows(layers),
        )
        acts = [act for act in self.ledger.journal() if self._within(act.at)]
        self._table(
            archive,
            "decided/acts.csv",
            ("at", "act", "subject", "by", "reason"),
            ((to_stamp(act.at), act.act, act.subject, act.by, act.reason) for act in acts),
        )
        for act in acts:
            self._event(act.at, f"act: {act.act}", act.subject, f"{act.by}: {act.reason}")
        hold = self.ledger.hold(self.until)
        if hold is not None:
            self.notes.append(f"publication was held since {to_stamp(hold.at)} by {hold.by}: {hold.reason}")
        drills = [
            drill
            for drill in self.ledger.drills.all()
            if drill.started_at < self.until and drill.ends_at > self.start
        ]
        self._table(
            archive,
            "decided/drills.csv",
            ("number", "zone", "level", "started_at", "ends_at", "by", "reason"),
            drill_rows(drills),
        )
        for drill in drills:
            if self._within(drill.started_at):
                self._event(drill.started_at, "EXERCISE begins", drill.zone, LEVEL_LABELS[drill.level])
        self._reports(archive)
        self._inventory(archive)
        runs = list(self.of_ledger.runs(self.start, self.until))
        columns = ("run", "kind", "day", "lead", "started_at", "ended_at", "outcome", "reason", "layer")
        self._table(archive, "decided/runs.csv", (*columns, "seconds"), runs)
        for number, kind, day, lead, began, ended, outcome, reason, *_ in runs:
            what = f"{kind} run {number}: {outcome}"
            self._event(_moment(ended or began), what, f"{day or ''} lead {lead}", str(reason or ""))

    def _reports(self, archive: EvidenceArchive) -> None:
        found = [item for item in self.ledger.proposals.all() if item.received_at <= self.until]
        here = [
            item
            for item in found
            if self._within(item.received_at) or (item.decided_at and self._within(item.decided_at))
        ]
        columns = ("uid", "kind", "observed_on", "received_at", "longitude", "latitude", "accuracy_m", "note")
        self._table(
            archive,
            "decided/reports.csv",
            (*columns, "reporter", "state", "decided_at", "by", "reason"),
            (report_row(item, self.until) for item in here),
        )
        for item in here:
            if self._within(item.received_at):
                self._event(item.received_at, f"report: {item.kind}", item.uid, item.note)

    def _inventory(self, archive: EvidenceArchive) -> None:
        tables, changes = event_tables(self.ledger.events, self.day, self.start, self.until)
        for table in tables:
            self._table(archive, *table)
        for change in changes:
            self._event(change.at, f"event {change.what}", change.event.uid, change.event.note)

    # --- sent ---

    def _sent(self, archive: EvidenceArchive) -> None:
        deliveries = [
            (*row[:7], self.mask(row[7]) if row[7] else None)
            for row in self.of_ledger.deliveries(self.start, self.until)
        ]
        self._table(
            archive,
            "sent/deliveries.csv",
            ("exporter", "act", "layer", "entered_at", "ended_at", "state", "attempts", "error"),
            deliveries,
        )
        for exporter, act, layer, _, ended, state, *_ in deliveries:
            if ended is not None:
                self._event(_moment(ended), f"{act} to {exporter}: {state}", str(layer), "")
        messages = self.ledger.cap.sent(self.start, self.until)
        self._table(
            archive,
            "sent/cap.csv",
            ("sent", "identifier", "kind", "status", "zone", "thread", "expires", "headline"),
            message_rows(messages),
        )
        for number, message in enumerate(messages, start=1):
            # Numbered, since an identifier need not be a file's name.
            archive.data(f"sent/cap/{number:04d}-{message.kind.lower()}.xml", cap_xml(message))
            what = f"CAP {message.kind} ({message.status})"
            self._event(message.sent, what, message.zone, message.infos[0].headline)

    # --- helpers ---

    def _within(self, moment: datetime) -> bool:
        return self.start <= moment < self.until

    def _event(self, at: datetime, what: str, subject: str, detail: str) -> None:
        self.events.append((at, what, subject, detail))

    def _table(
        self, archive: EvidenceArchive, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        self.counts[name] = archive.table(name, columns, rows)


def _moment(stamp: object) -> datetime:
    return datetime.fromisoformat(str(stamp))
