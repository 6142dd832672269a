"""What a layer was made from, by digests: whether it is the same again, and what it may be compared with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from service.files import digest_of
from service.layer_windows import LayerWindows
from service.settings import RegionSettings
from service.warnings import state_of
from service.workshop import Workshop

# What must be the same for two layers to be compared: only then is a difference a change of the weather.
FIXED = ("bundle", "state", "stack", "mask", "zones", "classes")


def layer_digest(shop: Workshop, made: LayerWindows, lead: int) -> str:
    """Everything that can change the layer, and nothing else."""
    return digest_of(layer_basis(shop, made), made.windows.day.isoformat(), lead)


def layer_basis(shop: Workshop, made: LayerWindows) -> dict[str, str]:
    """Return the digests of what a layer is made from, and what its windows were given beside readings."""
    return {
        "windows": made.windows.digest,
        "hotspots": digest_of(shop.settings.hotspots.model_dump()),
        "coverage": digest_of(shop.settings.forcing.min_coverage),
        "region": _region_digest(shop.settings.region),
        **fixed_basis(shop),
        **_levels(shop, made.windows.day),
        **made.basis,
    }


def fixed_basis(shop: Workshop) -> dict[str, str]:
    """Return the part of the basis that FIXED names."""
    return {
        "bundle": shop.bundle.digest,
        "state": shop.state.digest,
        "stack": shop.stack.digest,
        "mask": shop.region.mask_digest,
        "zones": shop.region.zones_digest,
        "classes": digest_of(list(shop.scheme.breaks)),
    }


def are_comparable(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Tell whether layers of these bases have the same model, state, mask, zones and breaks."""
    return all(kind in one and one[kind] == other.get(kind) for kind in FIXED)


def _levels(shop: Workshop, day: date) -> dict[str, str]:
    """What levels are decided from beside the map: when one of it is another, the layer is made again."""
    if not shop.model.may_warn:
        return {}
    before = shop.ledger.levels.before(day, as_of=shop.as_of)
    return {
        "warnings": digest_of(shop.settings.warnings.model_dump()),
        "levels": digest_of([state_of(item) for item in before.warnings] if before is not None else []),
    }


def _region_digest(region: RegionSettings) -> str:
    """What the layer says of the region on its face: a map that forgot to say "synthetic" is made again."""
    return digest_of(region.id, region.timezone, region.synthetic, region.attribution)
