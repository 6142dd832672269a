"""The faults that feeds have, as a script: which feed, which kind, from which day to which.

    [[faults]]
    kind = "shifted"
    feed = "kerala_dams_level"
    since = 2026-03-10
    until = 2026-03-12
    series = ["SAA"]

Days are the simulated clock's, in UTC: a fault stands while the clock shows one of them, and is gone after.
"""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from service.errors import UsageError
from service.settings_base import Positive, Section

Share = Annotated[float, Field(gt=0, lt=1)]


class _Fault(Section):
    """One fault. `feed`: the name under which the simulator serves it; "*": all feeds."""

    teaches: ClassVar[str] = ""
    feed: str
    since: date
    until: date
    series: tuple[str, ...] = ()  # default: all of the feed

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until < self.since:
            raise ValueError(f"until {self.until} is before since {self.since}")
        return self

    def stands(self, feed: str, today: date) -> bool:
        """Tell whether the fault is there on a day of the clock."""
        return self.feed in (feed, "*") and self.since <= today <= self.until

    def touches(self, series: str) -> bool:
        """Tell whether a series has the fault."""
        return not self.series or series in self.series


class Down(_Fault):
    """No answer of use: an error status, or a connection that is closed without a word."""

    teaches: ClassVar[str] = "an error status (status = 503), or status = 0: the connection is closed"
    kind: Literal["down"] = "down"
    status: int = 503
    retry_after_s: int | None = None


class Slow(_Fault):
    """The answer begins late, and comes in pieces."""

    teaches: ClassVar[str] = "waits wait_s before the answer and pause_s between pieces of it"
    kind: Literal["slow"] = "slow"
    wait_s: float = 30.0
    pause_s: float = 0.0
    piece_bytes: Annotated[int, Field(ge=1)] = 1024


class Truncated(_Fault):
    """The body ends early: against its stated length, or with a length that agrees."""

    teaches: ClassVar[str] = "only a share of the body is sent; stated = false: its length says the same"
    kind: Literal["truncated"] = "truncated"
    share: Share = 0.6
    stated: bool = True  # the full length is stated, so the connection breaks in the middle


class WrongType(_Fault):
    """A web page in place of the data, with status 200."""

    teaches: ClassVar[str] = "an HTML page with status 200; content_type may lie about it"
    kind: Literal["wrong_type"] = "wrong_type"
    content_type: str = "text/html; charset=utf-8"
    page: str = (
        "<!DOCTYPE html>\n<html><body><h1>Scheduled maintenance</h1>Please try again later.</body></html>"
    )


class Stale(_Fault):
    """The page of the day before the fault began, again and again."""

    teaches: ClassVar[str] = "the page as it was on the day before since"
    kind: Literal["stale"] = "stale"


class Shifted(_Fault):
    """The numbers of some days before under a day's date."""

    teaches: ClassVar[str] = "under the date of a day the numbers of `days` days before"
    kind: Literal["shifted"] = "shifted"
    days: Annotated[int, Field(ge=1, le=30)] = 1


class UnitChange(_Fault):
    """Feet for metres, inches for millimetres, without a word."""

    teaches: ClassVar[str] = (
        "feet for metres, inches for millimetres (or times `factor`), the label unchanged"
    )
    kind: Literal["unit_change"] = "unit_change"
    factor: Positive | None = None  # default: by variable


class Duplicate(_Fault):
    """One series delivered under the name of another, or every row twice."""

    teaches: ClassVar[str] = 'the numbers of series `of` under the names in `series`; of = "": rows twice'
    kind: Literal["duplicate"] = "duplicate"
    of: str = ""


class LateCorrection(_Fault):
    """First numbers that are off, and right ones some days later."""

    teaches: ClassVar[str] = "the days' numbers are first times `factor` (levels: plus `offset_m`)"
    kind: Literal["late_correction"] = "late_correction"
    factor: Positive = 0.5
    offset_m: float = 0.4


class VersionRotation(_Fault):
    """The product goes by another version, and the old address is gone or leads to the new one."""

    teaches: ClassVar[str] = "files carry `version`; other services answer 301 to a new address"
    kind: Literal["version_rotation"] = "version_rotation"
    version: str = "V08A"


class DyingGauges(_Fault):
    """Gauges that fall silent on the day on which it rains too much, and stay so."""

    teaches: ClassVar[str] = "series are silent from their first day with `mm` or more on"
    kind: Literal["dying_gauges"] = "dying_gauges"
    mm: Positive = 40.0


Fault = (
    Down
    | Slow
    | Truncated
    | WrongType
    | Stale
    | Shifted
    | UnitChange
    | Duplicate
    | LateCorrection
    | VersionRotation
    | DyingGauges
)
KINDS: tuple[type[_Fault], ...] = (
    Down, Slow, Truncated, WrongType, Stale, Shifted, UnitChange, Duplicate, LateCorrection, VersionRotation,
    DyingGauges,
)  # fmt: skip


class FaultScript(Section):
    """All faults of a simulation."""

    faults: tuple[Annotated[Fault, Field(discriminator="kind")], ...] = ()

    def standing(self, feed: str, today: date) -> tuple[Fault, ...]:
        """Return the faults of a feed on a day of the clock."""
        return tuple(fault for fault in self.faults if fault.stands(feed, today))


NO_FAULTS = FaultScript()


def read_faults(path: Path, feeds: frozenset[str]) -> FaultScript:
    """Read a script, TOML or JSON. Raises UsageError that names the file, the fault and what is wrong."""
    try:
        text = path.read_text("utf-8")
        values: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read the faults in {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(
            f"{path} is not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}"
        ) from error
    try:
        script = TypeAdapter(FaultScript).validate_python(values)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise UsageError(f"the faults in {path} cannot be used:\n" + "\n".join(lines)) from error
    unknown = sorted({fault.feed for fault in script.faults} - feeds - {"*"})
    if unknown:
        raise UsageError(
            f"{path} names feeds that are not served: {', '.join(unknown)}; "
            f"served are {', '.join(sorted(feeds))}"
        )
    return script
