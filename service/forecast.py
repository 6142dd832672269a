"""The windows of a forecast layer: readings as far as they go, then rain forecast and levels that persist.

A layer of lead L is issued L days before its day. From the day after the newest one with complete readings
on (and from today at the latest: an unfinished day is no reading) rain is that of one issue of the forecast
feed, corrected for its bias where that is known; levels persist from their last reading (service.reservoirs).
Each member of an ensemble has windows of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

from exporters.layer import QUANTILE_MEMBERS, ForecastBasis
from service.errors import HeldError, UsageError
from service.files import digest_of
from service.forcing import RAIN
from service.forecast_bias import forecast_feed, rain_factors
from service.forecast_members import member_windows, together
from service.layer_windows import LayerWindows, windows_of
from service.reading_values import ForecastIssue, Issue, Selection
from service.sequences import build_windows, window_days
from service.settings import Settings
from service.stamps import to_stamp
from service.unconfirmed import weigh_suspects
from service.workshop import Workshop


def forecast_windows(shop: Workshop, day: date) -> LayerWindows:
    """Return what goes through the model for a layer of a day to come.

    Raises HeldError, naming the feed, where no issue is young enough or none reaches the window's end;
    UsageError for a model that takes no rain; SettingsError where it is not clear which feed forecasts.
    """
    opened = shop  # whose comparison of past forecasts serves all leads
    # Also where readings of later days are there already, as in a demo: no forecast knows them.
    shop = replace(shop, as_of=shop.as_of or shop.clock())
    manifest = shop.bundle.manifest
    feed = forecast_feed(shop.settings)
    if RAIN not in {spec.name for spec in manifest.variables}:
        raise UsageError(f"the model {manifest.name} takes no rain, so that there is nothing to forecast")
    days = window_days(day, manifest.window_days, manifest.lag_days)
    first = _first_without_readings(shop, days)
    if first > days[-1]:
        notes = (f"no forecast was needed: with a lag of {manifest.lag_days} days readings are complete",)
        weighed = weigh_suspects(shop, windows_of(shop, day))
        return LayerWindows(
            weighed.windows,
            data_until=days[-1],
            notes=(*notes, *weighed.notes),
            basis=weighed.basis,
            unconfirmed=bool(weighed.taken),
        )
    issue = _issue(shop, feed, first, days[-1])
    start = max(first, issue.first)
    ahead = tuple(item for item in days if item >= start)
    factors = _factors(opened, issue, ahead)
    basis = ForecastBasis(
        feed=feed,
        issued_at=issue.issued_at,
        first_day=start,
        members=len(_chosen(issue, shop.settings)),
        rain_factors=factors,
    )
    corrections = tuple(sorted(factors.items()))
    one, *others = (
        ForecastIssue(feed, issue.issued_at, start, member, corrections)
        for member in _chosen(issue, shop.settings)
    )
    weighed = weigh_suspects(shop, windows_of(shop, day, Selection(forecast=one)), one)
    members = member_windows(shop, weighed.windows, others)
    return LayerWindows(
        together(members),
        data_until=first - timedelta(days=1),
        members=members if len(members) > 1 else (),
        forecast=basis,
        notes=(*_notes(shop, basis, first), *weighed.notes),
        basis={"forecast": digest_of(basis.model_dump(mode="json")), **weighed.basis},
        unconfirmed=bool(weighed.taken),
    )


def _first_without_readings(shop: Workshop, days: Sequence[date]) -> date:
    """Return the day after the newest one of `days` with complete readings of rain, at the latest today.

    Complete: as much of what any gauge reaches as `forcing.min_coverage` asks of a layer. Raises HeldError
    where no day is.
    """
    manifest = shop.bundle.manifest
    rain = [spec for spec in manifest.variables if spec.name == RAIN]
    for day in reversed(days):
        if day >= shop.today:
            continue
        windows = build_windows(
            shop.settings, shop.region, shop.archive, rain, day, window_days=1, lag_days=0, as_of=shop.as_of
        )
        if windows.coverage and windows.coverage >= shop.settings.forcing.min_coverage * windows.reach:
            return day + timedelta(days=1)
    raise HeldError(
        f"no day from {days[0]} on has complete readings of rain, and a forecast alone is not gone on; "
        "which feed is late? See 'colluvium status'"
    )


def _issue(shop: Workshop, feed: str, first: date, last: date) -> Issue:
    """Return the newest issue that is young enough and gives `first` to `last`, or else up to `last`."""
    now = shop.as_of or shop.clock()
    longest = shop.settings.forecast.max_age_hours
    young = [issue for issue in shop.archive.issues(RAIN, now, now - longest) if issue.feed == feed]
    issues = young or [issue for issue in shop.archive.issues(RAIN, now) if issue.feed == feed]
    if not issues:
        raise HeldError(
            f"the forecast feed {feed!r} has brought no issue yet; see 'colluvium status', or run "
            "'colluvium ingest'"
        )
    if not young:
        newest = issues[0].issued_at
        raise HeldError(
            f"the newest issue of the forecast feed {feed!r} is of {newest:%Y-%m-%d %H:%M} UTC, "
            f"{(now - newest).total_seconds() / 3600:.0f} h old; an issue older than "
            f"forecast.max_age_hours = {longest.total_seconds() / 3600:g} makes no layer"
        )
    reaching = [issue for issue in young if issue.last >= last]
    if not reaching:
        raise HeldError(
            f"the newest issue of the forecast feed {feed!r} ({young[0].issued_at:%Y-%m-%d %H:%M} UTC) ends "
            f"with {young[0].last}, and the layer needs rain until {last}"
        )
    # An earlier one where only that gives the days between the readings and the newest.
    return next((issue for issue in reaching if issue.first <= first), reaching[0])


def _chosen(issue: Issue, settings: Settings) -> tuple[int | None, ...]:
    """Return the members that go through the model: all, or evenly chosen ones of too many."""
    step = -(-len(issue.members) // settings.forecast.members_at_most)
    return issue.members[::step]


def _factors(shop: Workshop, issue: Issue, days: Sequence[date]) -> dict[date, float]:
    """Return what the rain of `days` is multiplied by, against the feed's bias at that distance."""
    issued_on = issue.issued_at.astimezone(shop.settings.timezone).date()
    by_ahead = rain_factors(shop.compared_rain, shop.settings.forecast)
    ahead = {day: (day - issued_on).days for day in days}
    return {day: by_ahead[number] for day, number in ahead.items() if number in by_ahead}


def _notes(shop: Workshop, basis: ForecastBasis, first: date) -> tuple[str, ...]:
    """What a reader of the layer must know of its forecast."""
    notes = [
        f"rain from {basis.first_day} on is forecast by {basis.feed}, issued {to_stamp(basis.issued_at)}"
    ]
    if first < basis.first_day:
        notes.append(
            f"the readings of {first} to {basis.first_day - timedelta(days=1)} are not complete, and the "
            "forecast begins after them"
        )
    if any(spec.name != RAIN for spec in shop.bundle.manifest.variables):
        notes.append("reservoir levels persist from their last reading")
    if basis.members == 1:
        notes.append("one deterministic forecast: the layer does not say how uncertain it is")
    elif not basis.has_quantiles:
        notes.append(
            f"the median over {basis.members} members of the forecast, each run through the model; with less "
            f"than {QUANTILE_MEMBERS} there are no quantiles"
        )
    else:
        notes.append(
            f"the median over {basis.members} members of the forecast, each run through the model; "
            "quantiles.tif holds p10, p50 and p90"
        )
    if basis.rain_factors:
        said = ", ".join(f"{day} x {factor:g}" for day, factor in sorted(basis.rain_factors.items()))
        notes.append(f"forecast rain is corrected for its bias by lead: {said}")
    else:
        notes.append("forecast rain is not corrected for bias: too few days could be compared with readings")
    return tuple(notes)
