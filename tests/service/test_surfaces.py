"""Promises of the surface store: exactly what was put, or nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from service.files import digest_of
from service.surfaces import Kind, Surface, SurfaceStore, prune

DAY = date(2024, 5, 1)
DIGEST = digest_of("a day")


def make_surface() -> Surface:
    return Surface(
        values=np.array([1.5, np.nan, 0.0], dtype=np.float32),
        kind=np.array([Kind.OBSERVED, Kind.MISSING, Kind.FILLED], dtype=np.uint8),
        distance_km=np.array([0.2, np.nan, 9.0], dtype=np.float32),
        nearest=np.array([0, -1, 1], dtype=np.int32),
        series=("feed/a", "feed/gauge at São João"),
    )


def test_a_surface_comes_back_as_it_was_put(tmp_path: Path) -> None:
    store = SurfaceStore(tmp_path)
    surface = make_surface()
    store.put("rain", DAY, DIGEST, surface)
    again = store.get("rain", DAY, DIGEST, 3)
    assert again is not None
    assert again.series == surface.series
    for name in ("values", "kind", "distance_km", "nearest"):
        before, after = getattr(surface, name), getattr(again, name)
        assert before.dtype == after.dtype
        assert before.tobytes() == after.tobytes()


def test_a_day_on_which_no_series_stood_can_be_kept(tmp_path: Path) -> None:
    store = SurfaceStore(tmp_path)
    nothing = np.full(2, np.nan, np.float32)
    empty = Surface(nothing, np.zeros(2, np.uint8), nothing, np.full(2, -1, np.int32), ())
    store.put("rain", DAY, DIGEST, empty)
    again = store.get("rain", DAY, DIGEST, 2)
    assert again is not None
    assert again.series == ()


def test_what_was_never_put_is_not_found(tmp_path: Path) -> None:
    store = SurfaceStore(tmp_path)
    store.put("rain", DAY, DIGEST, make_surface())
    assert store.get("level", DAY, DIGEST, 3) is None
    assert store.get("rain", DAY, digest_of("other readings"), 3) is None


@pytest.mark.parametrize("keep", [0, 40, 300, -1])
def test_a_damaged_file_is_not_used(tmp_path: Path, keep: int) -> None:
    store = SurfaceStore(tmp_path)
    store.put("rain", DAY, DIGEST, make_surface())
    path = store.path("rain", DAY, DIGEST)
    path.write_bytes(path.read_bytes()[:keep])
    assert store.get("rain", DAY, DIGEST, 3) is None


def test_one_changed_byte_in_the_values_is_noticed(tmp_path: Path) -> None:
    store = SurfaceStore(tmp_path)
    store.put("rain", DAY, DIGEST, make_surface())
    path = store.path("rain", DAY, DIGEST)
    content = bytearray(path.read_bytes())
    place = content.index(np.float32(1.5).tobytes())
    content[place + 3] ^= 0x01
    path.write_bytes(content)
    assert store.get("rain", DAY, DIGEST, 3) is None


def test_a_surface_of_other_points_or_another_full_digest_is_not_used(tmp_path: Path) -> None:
    store = SurfaceStore(tmp_path)
    store.put("rain", DAY, DIGEST, make_surface())
    assert store.get("rain", DAY, DIGEST, 4) is None
    assert store.get("rain", DAY, DIGEST[:16] + "0" * 48, 3) is None


def test_text_in_place_of_a_surface_is_not_used(tmp_path: Path) -> None:
    store = SurfaceStore(tmp_path)
    path = store.path("rain", DAY, DIGEST)
    path.parent.mkdir(parents=True)
    path.write_text("<html>not found</html>")
    assert store.get("rain", DAY, DIGEST, 3) is None


def test_prune_removes_the_days_before_the_kept_ones_and_no_others(tmp_path: Path) -> None:
    store = SurfaceStore(tmp_path)
    for day in range(1, 11):
        store.put("rain", date(2024, 5, day), digest_of(day), make_surface())
    assert prune(store, keep_days=3) == 6
    assert sorted(set(store.days().values())) == [date(2024, 5, day) for day in (7, 8, 9, 10)]
    assert prune(store, keep_days=3, today=date(2024, 5, 12)) == 2
    assert prune(SurfaceStore(tmp_path / "none"), keep_days=3) == 0
