"""Pictures of a verification as SVG text; colours come from the page, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from exporters.verification import RateCurve, ReliabilityBin

_WIDTH, _HEIGHT = 480, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 20, 16, 52


def curve_chart(curves: Sequence[RateCurve]) -> str:
    """Draw the success-rate curve of all landslides, and thinner those of the periods."""
    parts = [
        _axes("share of the area, most susceptible first", "share of the landslides", _shares(), _shares())
    ]
    parts.append(f'<path class="chance" d="{_path([(0, 0), (1, 1)])}"><title>chance</title></path>')
    # One period alone is the curve of all of them.
    for curve in curves[1:] if len(curves) > 2 else ():
        parts.append(_curve(curve, "period"))
    parts.extend(_curve(curve, "all") for curve in curves[:1])
    return _svg("Success-rate curve", parts)


def reliability_chart(bins: Sequence[ReliabilityBin]) -> str:
    """Draw landslides per square kilometre and year by index, with their intervals."""
    drawn = [item for item in bins if item.cell_days and item.landslides_per_km2_year.value is not None]
    # An interval may reach a hundred times as high as the rates where hardly anything was looked at.
    rates = [item.landslides_per_km2_year.value or 0.0 for item in drawn]
    bounds = sorted(item.landslides_per_km2_year.high or 0.0 for item in drawn)
    top = _round_up(max([*rates, *bounds[: max(1, len(bounds) // 2)], 1e-12]) * 1.1)
    ticks = [(share, _figure(share * top)) for share in (0, 0.25, 0.5, 0.75, 1)]
    parts = [_axes("index of the map", "landslides per km² and year", _tenths(), ticks)]
    for item in drawn:
        rate = item.landslides_per_km2_year
        x = item.mean_index if item.mean_index is not None else (item.low + item.high) / 2
        low, high = min((rate.low or 0) / top, 1), min((rate.high or 0) / top, 1)
        title = (
            f"{item.low:.1f} to {item.high:.1f}: {item.landslides} landslides, {rate.value:.3g} per km² and "
            f"year ({rate.low:.3g} to {rate.high:.3g})"
        )
        parts.append(
            f'<g><title>{escape(title)}</title><path class="interval" d="{_path([(x, low), (x, high)])}"/>'
            f'<circle class="dot" cx="{_x(x):.1f}" cy="{_y(min((rate.value or 0) / top, 1)):.1f}" r="4"/></g>'
        )
    return _svg("Reliability", parts)


def _curve(curve: RateCurve, kind: str) -> str:
    points = list(zip(curve.area_share, curve.landslide_share, strict=True))
    title = f"{curve.period}: {curve.landslides} landslides, area {curve.auc or 0:.2f}"
    return f'<path class="{kind}" d="{_path(points)}"><title>{escape(title)}</title></path>'


def _axes(
    x_name: str, y_name: str, x_ticks: list[tuple[float, str]], y_ticks: list[tuple[float, str]]
) -> str:
    lines = []
    for share, text in x_ticks:
        lines.append(f'<path class="grid" d="{_path([(share, 0), (share, 1)])}"/>')
        place = f'x="{_x(share):.1f}" y="{_HEIGHT - _BOTTOM + 18}"'
        lines.append(f'<text {place} text-anchor="middle">{escape(text)}</text>')
    for share, text in y_ticks:
        lines.append(f'<path class="grid" d="{_path([(0, share), (1, share)])}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{_y(share) + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    lines.append(
        f'<text x="{(_x(0) + _x(1)) / 2:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x_name)}</text>'
    )
    middle = (_y(0) + _y(1)) / 2
    lines.append(
        f'<text x="14" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 14 {middle:.1f})">'
        f"{escape(y_name)}</text>"
    )
    return "".join(lines)


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _shares() -> list[tuple[float, str]]:
    return [(share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]


def _tenths() -> list[tuple[float, str]]:
    return [(share / 10, f"{share / 10:.1f}") for share in range(0, 11, 2)]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _round_up(value: float) -> float:
    """The next 1, 2 or 5 of a power of ten."""
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 <= value:
        power *= 10
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-12))
