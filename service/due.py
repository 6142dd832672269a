"""When a map is due: by then the next day's must stand there, as far as its readings can be there at all."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from exporters.layer import Layer
from service.feeds.parsing import interval_of
from service.settings import RasterFeed, Settings
from service.settings_feeds import FeedSettings
from service.stamps import from_stamp

# What a refresh may take, with what waits before it.
_TO_MAKE = timedelta(hours=1)


def due_at(settings: Settings, layer: Layer) -> datetime:
    """When a nowcast becomes old: by then the map of the day after it must be there.

    That a refresh ended well does not tell: it may have looked again at a day of last week.
    """
    return expected_at(settings, layer.day + timedelta(days=1), layer.day - layer.data_until)


def expected_at(settings: Settings, day: date, lag: timedelta) -> datetime:
    """By when the map of a day must be there, whose windows end `lag` before it.

    That is `schedule.ready_by` of the day, or of a later one where readings come so late that no refresh can
    have made it by then: satellites may lag by days, and a map that is never in time would be old for ever.
    """
    zone = settings.timezone
    made = _next_refresh(settings.schedule.refresh, zone, _readable_at(settings, day - lag)).astimezone(zone)
    return max(
        datetime.combine(max(day, made.date()), settings.schedule.ready_by, zone),
        (made + _TO_MAKE).astimezone(zone),
    )


def _readable_at(settings: Settings, last: date) -> datetime:
    """When the readings of the last day of a window can all be there.

    Of each variable the quickest feed counts, by its own day and latency; levels are carried for a while.
    """
    moments = [datetime.combine(last + timedelta(days=1), time(), settings.timezone)]
    carried = timedelta(days=settings.forcing.max_carry_days)
    for variable, spared in (("rain", timedelta(0)), ("level", carried)):
        ends = [
            _day_end(settings, feed, last) + _latency(feed) - spared
            for feed in settings.feeds
            if feed.variable == variable and not feed.forecast
        ]
        if ends:
            moments.append(min(ends))
    return max(moments)


def _day_end(settings: Settings, feed: FeedSettings, day: date) -> datetime:
    """When the feed's day ends whose total is the region's of `day`."""
    zone = ZoneInfo(feed.timezone) if feed.timezone else settings.timezone
    for offset in (-1, 0, 1):
        own = day + timedelta(days=offset)
        of, ends_at = interval_of(own, zone, feed.day_boundary, settings.timezone)
        if of == day:
            return from_stamp(ends_at)
    return datetime.combine(day + timedelta(days=1), time(), settings.timezone)


def _latency(feed: FeedSettings) -> timedelta:
    """The latency of a feed, of its quickest product."""
    if not isinstance(feed, RasterFeed) or not feed.products:
        return feed.latency_hours
    return min(
        feed.latency_hours if one.latency_hours is None else one.latency_hours for one in feed.products
    )


def _next_refresh(expression: str, zone: ZoneInfo, since: datetime) -> datetime:
    """Return the first scheduled refresh from a moment on, or that moment where cron cannot say."""
    trigger = _trigger(expression, zone)
    fires = trigger.get_next_fire_time(None, since) if trigger is not None else None
    return fires if isinstance(fires, datetime) else since


@lru_cache(maxsize=8)
def _trigger(expression: str, zone: ZoneInfo) -> CronTrigger | None:
    try:
        return CronTrigger.from_crontab(expression, timezone=zone)
    except ValueError:  # the daemon refuses it when it starts
        return None
