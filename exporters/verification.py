"""What the maps on display were worth, held against what happened: one record, as every outlet shows it.

Hit and miss are of dated landslides; a false alarm is counted only where somebody looked.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

Outcome = Literal["hit", "miss", "undecided", "unknown"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VerifiedEvent(_Part):
    """One landslide and the map before it. hit: high or very high stood there.

    undecided: its day is not known well enough, and the maps of its days differ. unknown: no map, or no value
    there.
    """

    uid: str
    source: str
    day_from: date
    day: date
    lon: float
    lat: float
    zone: str | None  # None: in none
    outcome: Outcome
    layer_id: str | None
    issued_at: datetime | None  # of that layer
    hindsight: bool  # the layer was made after the day: nobody had it on display then
    susceptibility: float | None  # the highest within the event's outline or accuracy
    class_label: str | None
    rank: float | None  # share of the map's known cells that stood below it, 0 to 1
    level: str | None  # of the zone on that day: green, yellow, orange, red; None: not known
    why: str  # in words, for undecided and unknown
    withdrawn: bool = False  # the layer was on display on that day, and was taken back later


class Rate(_Part):
    """A share with its 95 % interval (Wilson, 1927)."""

    value: float | None  # None: nothing to divide by
    low: float | None
    high: float | None


class ClassTally(_Part):
    """What fell into one class of the map."""

    label: str
    landslides: int  # by the highest class at each
    # Of their ground: each landslide counts one, spread evenly over its outline or accuracy circle, so that a
    # wide circle does not favour the high classes.
    landslide_share: float | None
    ground_share: float | None  # of the known ground of the maps that they were held against
    frequency_ratio: float | None  # the first share over the second (Lee and Talib, 2005)
    looked_km2_days: float  # of this class, where somebody looked
    landslides_looked: int  # of those, in ground that was looked at


class LevelTally(_Part):
    """A warning level, or a higher one, held against zones' spans of days."""

    level: str  # yellow, orange, red
    hits: int
    misses: int
    false_alarms: int  # it stood, somebody looked, nothing had happened
    rightly_quiet: int
    not_known: int
    not_looked: int  # it stood and nobody looked: no false alarm, and no proof either
    detection_rate: Rate  # hits / (hits + misses)
    false_alarm_ratio: Rate  # false alarms / (false alarms + hits), where somebody looked


class ZoneTally(_Part):
    """One zone."""

    zone: str
    name: str
    landslides: int
    hits: int
    misses: int
    unknown: int  # undecided ones included
    levels: tuple[LevelTally, ...]


class DurationMatrix(_Part):
    """Days by level and by how many landslides: EDuMaP (Calvello and Piciullo, 2016), summed over zones."""

    event_classes: tuple[str, ...]  # none, small, intermediate, large
    limits: tuple[int, ...]  # landslides of a zone and day from which a class begins
    levels: tuple[str, ...]  # green, yellow, orange, red
    days: tuple[tuple[float, ...], ...]  # one row for each event class, one column for each level
    criteria: tuple[tuple[str, ...], ...]  # the same shape: TN, CA, MA, FA
    indices: dict[str, float | None]  # such as efficiency, hit_rate, false_alarm_rate, missed_alert_rate
    not_looked_days: float  # of zones without landslides on days on which nobody looked: in no cell


class RateCurve(_Part):
    """Success rate (Chung and Fabbri, 2003): share of landslides within the most susceptible ground."""

    period: str  # "all", or such as 2026-03
    landslides: int
    area_share: tuple[float, ...]  # 0 to 1
    landslide_share: tuple[float, ...]
    auc: float | None
    auc_low: float | None  # 95 %, resampled by landslide days
    auc_high: float | None


class ReliabilityBin(_Part):
    """Ground of similar index, where somebody looked, and how often it slid."""

    low: float
    high: float
    mean_index: float | None
    cell_days: float
    landslides: int
    landslides_per_km2_year: Rate


class LeadTally(_Part):
    """Forecasts of one lead, held against the landslides of their days. Lead 0 is the nowcast."""

    lead: int
    hits: int
    misses: int
    hit_rate: Rate


class Verification(_Part):
    """The whole of it."""

    region: str
    made_at: datetime
    since: date | None
    until: date | None
    model: str  # name, version, digest of the newest layer that was judged
    of: Literal["display", "challenger"] = "display"
    synthetic: bool
    events: tuple[VerifiedEvent, ...]
    hits: int
    misses: int
    undecided: int
    unknown: int
    hit_rate: Rate
    hindsight: int  # events that only a layer made later could be judged by
    looks: int
    classes: tuple[ClassTally, ...]
    levels: tuple[LevelTally, ...]
    zones: tuple[ZoneTally, ...]
    duration: DurationMatrix | None
    curves: tuple[RateCurve, ...]
    reliability: tuple[ReliabilityBin, ...]
    notes: tuple[str, ...]
    # Hit rate of outlines and circles of the same sizes at random places of the same maps: what chance gives.
    chance_hit_rate: float | None = None
    # The same matrix where a day without a report counts as a day without landslides, looked at or not.
    duration_classical: DurationMatrix | None = None
    leads: tuple[LeadTally, ...] = ()
    maps: int = 0  # days of which a map was on display, or was made later
    digest: str = ""  # of all that it rests on: the same digest, the same figures
