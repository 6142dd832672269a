"""A verification as a short summary for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from exporters.verification import Rate, Verification


def summary(record: Verification) -> str:
    """Return the summary, without a newline at its end."""
    return "\n".join(_lines(record))


def percent(rate: Rate) -> str:
    """Return a rate with its interval: "50 % (15 to 85 %)", or "not known"."""
    if rate.value is None or rate.low is None or rate.high is None:
        return "not known"
    return f"{rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%})"


def _lines(record: Verification) -> Iterator[str]:
    synthetic = "SYNTHETIC  " if record.synthetic else ""
    which = "the challenger's maps" if record.of == "challenger" else "the maps on display"
    yield f"{synthetic}{record.region}: {which} from {record.since} to {record.until}, {record.maps} days"
    yield (
        f"  landslides   {len(record.events)}: hits {record.hits}, misses {record.misses}, "
        f"undecided {record.undecided}, unknown {record.unknown}"
    )
    chance = f"; by chance {record.chance_hit_rate:.0%}" if record.chance_hit_rate is not None else ""
    yield f"  hit rate     {percent(record.hit_rate)}{chance}"
    for curve in record.curves[:1]:
        bounds = f" ({curve.auc_low:.2f} to {curve.auc_high:.2f})" if curve.auc_low is not None else ""
        yield f"  curve        area {curve.auc:.2f}{bounds}; 0.5 is chance"
    for item in record.classes:
        if item.landslides or item.frequency_ratio is not None:
            ratio = f"{item.frequency_ratio:.2f}" if item.frequency_ratio is not None else "-"
            yield f"  {item.label:<12} landslides {item.landslides}, frequency ratio {ratio}"
    for level in record.levels if record.duration is not None else ():
        yield (
            f"  {level.level:<12} hits {level.hits}, misses {level.misses}, false alarms "
            f"{level.false_alarms}, rightly quiet {level.rightly_quiet}, not looked at {level.not_looked}; "
            f"detected {percent(level.detection_rate)}, false {percent(level.false_alarm_ratio)}"
        )
    if record.duration is not None:
        yield f"  EDuMaP       {_indices(record.duration.indices)}"
    if record.duration_classical is not None:
        yield f"    classical  {_indices(record.duration_classical.indices)}"
    for lead in record.leads:
        yield f"  lead {lead.lead:<7} hits {lead.hits}, misses {lead.misses}: {percent(lead.hit_rate)}"
    yield f"  looks        {record.looks}"
    for note in record.notes:
        yield f"  ! {note}"


def _indices(values: dict[str, float | None]) -> str:
    named = (("efficiency", "efficiency"), ("hit_rate", "hit rate"), ("false_alert_rate", "false alerts"))
    return ", ".join(
        f"{words} {'-' if values[name] is None else format(values[name], '.2f')}" for name, words in named
    )
