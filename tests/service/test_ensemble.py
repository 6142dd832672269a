"""An ensemble: how far its models disagree, where none of them was trained, and that it costs no one else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.layer import BEYOND_FACTORS, BEYOND_WINDOW, NODATA, SCALE, Odds
from service.bundle import Bundle, verify
from service.ensemble import Member, open_members, open_states, spread_of
from service.errors import BundleError
from service.files import sha256_file
from service.inference import LayerStrip, layer_strips, susceptibility_strips
from service.manifest import Manifest, member_file
from service.state import state_bytes
from tests.fix_bundle import ToyNetwork, write_toy_bundle
from tests.fix_scene import Scene, make_scene, without_window

LIVELY = ToyNetwork(gain=5)


def with_members(folder: Path, networks: Sequence[ToyNetwork], kind: str = "factored") -> Bundle:
    """Give a toy bundle members, and load it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for number, network in enumerate(networks, start=1):
        made = write_toy_bundle(
            folder.with_name(f"{folder.name}-m{number}"),
            network,
            kind="whole" if kind == "whole" else "factored",
        )
        for path in made.glob("*.onnx"):
            there = folder / member_file(number, path.name)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, there)
            manifest["files"][member_file(number, path.name)] = sha256_file(there)
    manifest["members"] = len(networks)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.load(folder)


def ensemble(folder: Path, kind: str = "factored", **changes: object) -> Scene:
    """Make a scene whose bundle has two members, of other seeds."""
    scene = make_scene(folder, LIVELY, kind=kind, **changes)  # type: ignore[arg-type]
    bundle = with_members(
        folder / f"bundle-{kind}", [replace(LIVELY, seed=7), replace(LIVELY, seed=8, gain=4)], kind
    )
    return replace(scene, bundle=bundle)


def opened(scene: Scene) -> tuple[Member, ...]:
    return open_members(
        scene.bundle,
        open_states(
            scene.region,
            scene.stack,
            scene.bundle,
            scene.folder / "state",
            min_patch_observed=1.0,
            workers=2,
        ),
    )


def together(strips: Sequence[LayerStrip]) -> npt.NDArray[np.uint8]:
    """Return the uncertainty of all strips, (2, height, width)."""
    parts = [strip.uncertainty for strip in strips if strip.uncertainty is not None]
    return np.concatenate(parts, axis=1)


def test_the_spread_is_the_deviation_of_what_each_model_says_alone(tmp_path: Path) -> None:
    for kind in ("factored", "whole"):
        scene = ensemble(tmp_path / kind, kind)
        state, members = scene.state(), opened(scene)
        strips = list(
            layer_strips(scene.region, state, scene.bundle, scene.windows, members=members, workers=2)
        )
        stored = np.concatenate([strip.stored for strip in strips])
        spread = together(strips)[0]

        alone = []
        for one in (Member(scene.bundle, state), *members):
            rows = [
                strip
                for _, strip in susceptibility_strips(
                    scene.region, one.state, one.bundle, scene.windows, workers=1
                )
            ]
            alone.append(np.concatenate(rows).astype(float) * SCALE)
        known = stored != NODATA
        np.testing.assert_array_equal(stored * SCALE, alone[0])
        np.testing.assert_array_equal(spread == NODATA, ~known)
        expected = np.std(alone, axis=0)
        assert np.abs(spread * SCALE - expected)[known].max() <= 0.0041  # each was stored, and the spread too
        assert expected[known].max() > 0.1


def test_what_lies_outside_the_training_ranges_is_marked_bit_by_bit(tmp_path: Path) -> None:
    def strange(factors: npt.NDArray[np.float32]) -> None:
        factors[0, 24:28, 24:32] = 101

    scene = ensemble(tmp_path, change=strange)
    k = LIVELY.k
    windows = scene.windows.windows.copy()
    stormy = int(np.flatnonzero((scene.region.forcing.active == (4, 5)).all(axis=1))[0])
    node = int(scene.windows.corner_rows[stormy, 0])
    windows[node, 3, 0] = 100.5
    made = without_window(replace(scene.windows, windows=windows), stormy - 2)
    state = scene.state()
    strips = list(layer_strips(scene.region, state, scene.bundle, made, members=opened(scene), workers=2))
    marks = together(strips)[1]

    expected = np.zeros(marks.shape, np.uint8)
    expected[24:28, 24:32] |= BEYOND_FACTORS
    for row, column in ((3, 4), (3, 5), (4, 4), (4, 5)):  # the forcing cells around the node
        expected[row * k : row * k + k, column * k : column * k + k] |= BEYOND_WINDOW
    stored = np.concatenate([strip.stored for strip in strips])
    expected[stored == NODATA] = NODATA
    np.testing.assert_array_equal(marks, expected)
    assert {0, BEYOND_FACTORS, BEYOND_WINDOW, NODATA} <= set(np.unique(marks).tolist())


def test_an_input_that_the_model_ignores_is_never_strange_to_it(tmp_path: Path) -> None:
    scene = ensemble(tmp_path)
    bundle = replace(scene.bundle, manifest=scene.bundle.manifest.model_copy(update={"ignores": ("window",)}))
    windows = replace(scene.windows, windows=scene.windows.windows + 1000)
    strips = list(
        layer_strips(scene.region, scene.state(), bundle, windows, members=opened(scene), workers=1)
    )
    assert set(np.unique(together(strips)[1]).tolist()) <= {0, NODATA}


def test_strips_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    scene = ensemble(tmp_path, shape=(140, 270))  # six tiles
    state, members = scene.state(), opened(scene)
    made = [
        list(
            layer_strips(
                scene.region, state, scene.bundle, scene.windows, members=members, workers=n,
                odds=Odds(event_rate=0.01, per="cell", positives_share=0.5),
            )
        )
        for n in (1, 3)
    ]  # fmt: skip
    for one, other in zip(*made, strict=True):
        np.testing.assert_array_equal(one.stored, other.stored)
        np.testing.assert_array_equal(one.uncertainty, other.uncertainty)  # type: ignore[arg-type]
        np.testing.assert_array_equal(one.probability, other.probability)  # type: ignore[arg-type]


def test_without_members_and_odds_there_is_nothing_beside_the_layer(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, LIVELY)
    strips = list(layer_strips(scene.region, scene.state(), scene.bundle, scene.windows, workers=2))
    assert {(strip.uncertainty is None, strip.probability is None) for strip in strips} == {(True, True)}


def test_the_probability_is_of_the_float_and_not_of_the_stored_byte(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, LIVELY)
    odds = Odds(event_rate=1e-4, per="cell and day", positives_share=0.5)
    strips = list(
        layer_strips(scene.region, scene.state(), scene.bundle, scene.windows, workers=2, odds=odds)
    )
    stored = np.concatenate([strip.stored for strip in strips])
    found = np.concatenate([strip.probability for strip in strips if strip.probability is not None])
    known = stored != NODATA
    np.testing.assert_array_equal(np.isfinite(found), known)
    assert found.dtype == np.float32
    # Undone, it is the index again, finer than it is stored.
    back = found * 1e4 / (found * 1e4 + (1 - found) / (1 - 1e-4))
    assert np.abs(back - stored * SCALE)[known].max() <= 0.5 * SCALE + 1e-5
    assert len(np.unique(found[known])) > 3 * len(np.unique(stored[known]))


@given(st.floats(1e-6, 1 - 1e-6), st.floats(1e-8, 0.5), st.floats(0.01, 0.99))
def test_the_odds_correction_is_the_shift_of_the_logit_and_keeps_ranks(
    index: float, rate: float, share: float
) -> None:
    odds = Odds(event_rate=rate, per="cell and day", positives_share=share)
    found = float(odds.correct(np.array([index]))[0])
    logit = np.log(index / (1 - index)) - np.log(((1 - rate) / rate) * (share / (1 - share)))
    assert found == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)
    ends = odds.correct(np.array([0.0, share, 1.0, np.nan]))
    assert ends[:3] == pytest.approx([0.0, rate, 1.0], rel=1e-5)
    assert np.isnan(ends[3])


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_spread_of_like_models_is_zero_and_never_more_than_half(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    main = random.random((3, 5)).astype(np.float32)
    others = [random.random((3, 5)).astype(np.float32) for _ in range(count)]
    assert spread_of(main, [main] * count) == pytest.approx(np.zeros((3, 5)), abs=1e-6)
    spread = spread_of(main, others)
    assert spread == pytest.approx(np.std([main, *others], axis=0), abs=1e-6)
    assert spread.max() <= 0.5


def test_each_member_has_a_state_of_its_own_and_a_whole_one_needs_none(tmp_path: Path) -> None:
    scene = ensemble(tmp_path / "a")
    steps: list[tuple[int, int]] = []
    states = open_states(
        scene.region, scene.stack, scene.bundle, tmp_path / "state", min_patch_observed=1.0, workers=1,
        progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    assert len({state.folder for state in states}) == 3
    count = 3 * len(scene.region.forcing.active)
    assert steps[-1] == (count, count)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    on_disk = sum(
        (state.folder / name).stat().st_size
        for state in states
        for name in ("state.bin", "flags.bin", "cells.bin")
    )
    assert on_disk == state_bytes(scene.bundle.manifest, len(scene.region.forcing.active), LIVELY.k)

    whole = ensemble(tmp_path / "b", "whole")
    assert len(
        open_states(
            whole.region, whole.stack, whole.bundle, tmp_path / "w", min_patch_observed=1.0, workers=1
        )
    ) == len(list((tmp_path / "w").iterdir())) == 1  # fmt: skip


def test_a_members_file_is_checked_like_any_other(tmp_path: Path) -> None:
    scene = ensemble(tmp_path)
    folder = scene.bundle.folder
    found = verify(folder, samples=64)
    assert (found.members, found.passed) == (2, True)
    assert "each member" in found.checked

    path = folder / "members" / "2" / "head_u8.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"members/2/head_u8\.onnx is not the file that was exported"):
        Bundle.load(folder)
    with pytest.raises(BundleError, match=r"members/2/head_u8\.onnx"):
        scene.bundle.member(2, ["head_u8.onnx"])  # exchanged behind the back of a daemon that runs


def test_a_member_that_is_not_one_network_is_refused_by_its_number(tmp_path: Path) -> None:
    scene = ensemble(tmp_path)
    folder = scene.bundle.folder
    members = folder / "members"
    shutil.copy(members / "1" / "spatial.onnx", members / "2" / "spatial.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["members/2/spatial.onnx"] = sha256_file(members / "2" / "spatial.onnx")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"member 2: the factored graphs differ"):
        Bundle.load(folder)


def test_members_that_the_manifest_promises_must_be_listed(tmp_path: Path) -> None:
    folder = write_toy_bundle(tmp_path / "toy")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"members": 1}))
    with pytest.raises(BundleError, match=r"with 1 members needs members/1/spatial\.onnx"):
        Bundle.load(folder)


def test_a_bundle_that_uses_nothing_new_is_written_as_it_always_was(tmp_path: Path) -> None:
    demo = Path(__file__).resolve().parents[2] / "config" / "demo" / "bundle" / "manifest.json"
    manifest = Manifest.model_validate_json(demo.read_bytes())
    assert manifest.model_dump(mode="json") == json.loads(demo.read_bytes())
    assert (manifest.members, manifest.ignores, manifest.odds) == (0, (), None)
    said = manifest.model_copy(update={"members": 2, "model": "Random forest"}).model_dump(mode="json")
    assert (said["members"], said["model"]) == (2, "Random forest")
