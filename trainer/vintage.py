"""Whether what factors were derived from is older than the landslides that a model learns from.

    check_vintage(bands, event_days) -> tuple[VintageProblem, ...]
    VintageProblem.words                    one sentence for a report

A DEM, an NDVI or a land cover made after a landslide may show its scar: the label in the input. It is a
warning: the rest of the events, and the judgement, are the reader's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from service.errors import FactorError
from service.factor_stack import FactorBand


@dataclass(frozen=True)
class VintageProblem:
    """A factor that is not known to predate every training event."""

    factor: str
    source_date: date | None  # None: the stack does not say
    not_after: int  # events on or before that day; all of them where it is unknown
    events: int

    @property
    def words(self) -> str:
        """What is wrong, in one sentence."""
        if self.source_date is None:
            return (
                f"{self.factor}: the stack does not say of which day its source is, so it may show any of "
                f"the {self.events} landslides; state the date of the source"
            )
        return (
            f"{self.factor}: its source is of {self.source_date.isoformat()}, and {self.not_after} of "
            f"{self.events} landslides were earlier: it may show their scars"
        )


def check_vintage(bands: Sequence[FactorBand], event_days: Sequence[date]) -> tuple[VintageProblem, ...]:
    """Return the factors whose source is not older than each of the training events, in the stack's order.

    A source of an event's own day counts as later: nothing says which came first. Raises FactorError for a
    source date that is no ISO day.
    """
    problems = []
    for band in bands:
        source = _source_date(band)
        not_after = sum(source is None or day <= source for day in event_days)
        if not_after:
            problems.append(VintageProblem(band.name, source, not_after, len(event_days)))
    return tuple(problems)


def vintage_words(problems: Sequence[VintageProblem]) -> tuple[str, ...]:
    """Return one sentence for each source date: the many factors of one DEM are said once."""
    groups: dict[tuple[date | None, int, int], list[str]] = {}
    for problem in problems:
        key = (problem.source_date, problem.not_after, problem.events)
        groups.setdefault(key, []).append(problem.factor)
    return tuple(
        VintageProblem(", ".join(factors), source, not_after, events).words
        for (source, not_after, events), factors in groups.items()
    )


def _source_date(band: FactorBand) -> date | None:
    if band.source_date is None:
        return None
    try:
        return date.fromisoformat(band.source_date)
    except ValueError as error:
        raise FactorError(
            f"the factor {band.name} has the source date {band.source_date!r}, which is not a day such as "
            "2021-07-01; state it so and derive the stack again"
        ) from error
