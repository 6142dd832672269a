"""How much of a place's value is terrain, rain and reservoir, and what changed since the day before."""

from __future__ import annotations

from exporters.layer import NODATA, SCALE, Layer
from service.api.making import Making, Record, window_of
from service.api.models import Told
from service.api.numbers import decoded, rounded
from service.api.point_models import ChangeSaid, PartsSaid, Reasons
from service.api.site import Site
from service.explain import Evaluate, explain, explain_change, head_at, reference_says, whole_at
from service.place import Cell, PlaceWindow

# What two layers must share for a difference between them to be the weather's.
_COMPARABLE = ("bundle", "state", "stack", "mask")
_TOLERANCE = SCALE + 1e-6  # what storing a value in steps can take from it, and float32 from that


def reasons_of(
    site: Site,
    making: Making | None,
    lacking: Told | None,
    layer: Layer,
    record: Record,
    cell: Cell | None,
    window: PlaceWindow | None,
    values: dict[str, int],
) -> tuple[Reasons | None, Told | None]:
    published = decoded(values[layer.id])
    if published is None or cell is None:
        return None, Told(code="unknown_value", says="There is no value here to explain.")
    if making is None or window is None:
        return None, lacking or Told(code="inputs_changed", says="The region's mask has changed since.")
    if not window.complete:
        return None, Told(
            code="inputs_changed", says="Settings or inputs have changed since this layer was made."
        )
    evaluate = _evaluator(making, cell, window)
    if evaluate is None:
        return None, Told(code="no_state", says="The spatial state of this layer is no longer kept.")
    parts = explain(evaluate, window)
    agrees = abs(parts.total - published) <= _TOLERANCE
    change, change_missing = _change(site, making, layer, record, cell, window, values, evaluate)
    reasons = Reasons(
        published=published,
        explained=round(parts.total, 6),
        agrees=agrees,
        says=None if agrees else "The published value is another one: settings or inputs have changed since.",
        parts=PartsSaid(
            terrain=round(parts.terrain, 6), rain=rounded(parts.rain), reservoir=rounded(parts.reservoir)
        ),
        reference=reference_says(window),
        change=change,
        change_missing=change_missing,
    )
    return reasons, None


def _evaluator(making: Making, cell: Cell, window: PlaceWindow) -> Evaluate | None:
    if making.bundle.manifest.kind == "whole":
        return whole_at(making.bundle, making.patches, cell, window.weights)
    return head_at(making.bundle, making.state, cell) if making.state is not None else None


def _change(
    site: Site,
    making: Making,
    layer: Layer,
    record: Record,
    cell: Cell,
    window: PlaceWindow,
    values: dict[str, int],
    evaluate: Evaluate,
) -> tuple[ChangeSaid | None, Told | None]:
    before = record.before
    if before is None:
        return None, Told(code="no_layer_before", says="There is no layer of the day before.")
    then, now = decoded(values.get(before.id, NODATA)), decoded(values[layer.id])
    if then is None or now is None:
        return None, Told(code="unknown_before", says="The value of the day before is unknown here.")

    def said(parts: PartsSaid | None, says: str | None) -> tuple[ChangeSaid, None]:
        change = round(now - then, 6)
        return ChangeSaid(
            since=before.day, layer=before.id, before=then, change=change, parts=parts, says=says
        ), None

    if any(record.basis.get(kind) != record.before_basis.get(kind) for kind in _COMPARABLE):
        return said(None, "Model, factors or mask changed between the two layers; they cannot be compared.")
    earlier = window_of(site, making, before, record.before_basis, cell)
    if isinstance(earlier, Told):
        return said(None, earlier.says)
    if not earlier.complete or earlier.reservoir != window.reservoir:
        return said(None, "Settings or inputs have changed since the layer of the day before was made.")
    found = explain_change(evaluate, earlier, window)
    parts = PartsSaid(terrain=0.0, rain=rounded(found.rain), reservoir=rounded(found.reservoir))
    agrees = abs(found.before - then) <= _TOLERANCE and abs(found.after - now) <= _TOLERANCE
    return said(parts, None if agrees else "A published value is another one: inputs have changed since.")
