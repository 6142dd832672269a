"""A region's inventory -> labelled, dated samples over the whole of it, with what went wrong on the way.

draw_region(opened, wanted, sampling) -> Drawn
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from service.errors import InputError
from trainer.divide import rain_at_nodes
from trainer.inventory_events import count_sources, read_region_inventory
from trainer.inventory_screen import screen
from trainer.region_dataset import Opened
from trainer.sample_places import places_on
from trainer.samples import Sample, Sampling, draw_samples
from trainer.training_settings import TrainingSettings
from trainer.vintage import check_vintage, vintage_words


@dataclass(frozen=True)
class Drawn:
    """Samples, and what a reader must know of them."""

    samples: tuple[Sample, ...]
    shortfalls: dict[str, int]  # kind -> negatives that could not be found
    problems: tuple[str, ...]  # of the inventory, by row
    vintage: tuple[str, ...]  # factors that may show the landslides
    digest: str  # of the inventory
    sources: dict[str, int]  # where the landslides are from -> how many: "file", or of the ledger


def draw_region(opened: Opened, wanted: TrainingSettings, sampling: Sampling) -> Drawn:
    """Read the inventory, screen it against the grid, and draw dated negatives.

    Raises InputError where the inventory cannot be used, or has no event in the stated days.
    """
    region, stack = opened.region, opened.stack
    inventory = read_region_inventory(wanted.inventory, opened.settings, region.grid.crs)
    screened = screen(inventory, region.grid, region.mask_path)
    events = [event for event in screened.events if wanted.first_day <= event.day <= wanted.last_day]
    if not events:
        raise InputError(
            f"{inventory.path}: none of {len(screened.events)} events on the grid lies between "
            f"{wanted.first_day} and {wanted.last_day}; see training.first_day and last_day"
        )
    days = days_between(wanted.first_day, wanted.last_day)
    rain = rain_at_nodes(opened.settings, region, opened.archive, days[0] - before_window(sampling), days[-1])
    names = wanted.factors or tuple(band.name for band in stack.bands)
    flat = None
    if sampling.flat or (sampling.shares is not None and sampling.shares.flat):
        flat = places_on(stack, wanted.patch, names=names, slope_below=sampling.flat_degrees, seed=1)
    drawn = draw_samples(
        events,
        screened.around,
        days=days,
        elsewhere=places_on(stack, wanted.patch, names=names),
        rain=rain.at,
        sampling=sampling,
        flat=flat,
    )
    bands = [stack.bands[number - 1] for number in stack.index(names)]
    return Drawn(
        drawn.samples,
        {kind.value: count for kind, count in drawn.shortfalls.items()},
        tuple(problem.words for problem in screened.problems),
        tuple(vintage_words(check_vintage(bands, [event.day for event in events]))),
        inventory.digest,
        count_sources(events),
    )


def before_window(sampling: Sampling) -> timedelta:
    """Return how long before a sample's day its window begins, at most."""
    return timedelta(days=sampling.window_days + sampling.lag_days)


def days_between(first: date, last: date) -> list[date]:
    """Return every day from the first to the last."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
