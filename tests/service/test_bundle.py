"""A bundle is checked before it is believed, and refused in words that say what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.layer import ClassScheme
from service.bundle import Bundle, check_region, read_manifest, verify
from service.errors import BundleError
from service.files import sha256_file
from service.manifest import RainTest
from service.proof import random_factors, random_window
from tests.fix_bundle import ToyNetwork, write_toy_bundle

TOY = ToyNetwork()
_PASSED = {
    "passed": True, "largest_drop": 0.0, "scales": [0, 3], "mean_susceptibility": [0.1, 0.2], "samples": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy", TOY)


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "toy"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def sign(folder: Path) -> None:
    """Bring the manifest's checksums up to date, as a forger would."""
    rewrite(
        folder,
        lambda values: values.update(files={name: sha256_file(folder / name) for name in values["files"]}),
    )


def edit(folder: Path, name: str, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(folder / name, load_external_data=False)
    change(model)
    (folder / name).write_bytes(model.SerializeToString())
    sign(folder)


def test_a_sound_bundle_loads_and_names_itself(pristine: Path) -> None:
    loaded = Bundle.load(pristine)
    assert loaded.digest == sha256_file(pristine / "manifest.json")
    assert loaded.manifest.name == "toy"
    assert loaded.size_bytes == sum(path.stat().st_size for path in pristine.iterdir())


@pytest.mark.parametrize("name", ["spatial.onnx", "temporal.onnx", "head.onnx", "head_u8.onnx", "whole.onnx"])
def test_one_changed_byte_is_refused_by_the_name_of_the_file(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(
        BundleError, match=rf"{name} is not the file that was exported.*copy the bundle again"
    ):
        Bundle.load(bundle)


def test_a_missing_folder_manifest_or_file_is_named(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"no such bundle folder: .*elsewhere"):
        Bundle.load(bundle / "elsewhere")
    (bundle / "head.onnx").unlink()
    with pytest.raises(BundleError, match=r"cannot read .*head\.onnx.*incomplete"):
        Bundle.load(bundle)
    (bundle / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"cannot read .*manifest\.json"):
        Bundle.load(bundle)


def test_a_manifest_that_is_not_json_is_refused(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json is not valid JSON"):
        Bundle.load(bundle)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patch": 0}, r"patch: .*greater than or equal to 1"),
        ({"patch": 21}, r"patch must be at least 22"),
        ({"classes": {"breaks": [0.1, 0.2]}}, r"classes\.breaks"),
        ({"surprise": 1}, r"surprise: Extra inputs"),
        ({"schema_version": 0}, r"schema_version"),
        ({"may_warn": True}, r"may_warn = true needs a rain test"),
        (
            {"may_warn": True, "ignores": ["window"], "rain_test": _PASSED},
            r"may_warn = true for a model that ignores the window",
        ),
        ({"ignores": ["weather"]}, r"ignores"),
        ({"members": 2}, r"with 2 members needs members/1/spatial\.onnx"),
        ({"odds": {"event_rate": 0, "per": "cell", "positives_share": 0.5}}, r"odds\.event_rate"),
        ({"files": {"../whole.onnx": "0"}}, r"lies outside the bundle"),
        ({"files": {"whole.onnx": "0"}}, r"needs spatial\.onnx"),
    ],
)
def test_a_wrong_manifest_is_refused_by_its_field(bundle: Path, change: dict[str, Any], words: str) -> None:
    rewrite(bundle, lambda values: values.update(change))
    with pytest.raises(BundleError, match=rf"(?s)manifest\.json cannot be used:.*{words}"):
        Bundle.load(bundle)


def test_a_bundle_of_a_newer_schema_says_to_update(bundle: Path) -> None:
    rewrite(bundle, lambda values: values.update(schema_version=2, new_field=1))
    with pytest.raises(BundleError, match=r"schema version 2.*reads up to 1.*update Colluvium"):
        Bundle.load(bundle)


def test_a_file_that_the_manifest_does_not_list_is_refused(bundle: Path) -> None:
    (bundle / "weights.data").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"does not list: weights\.data; remove"):
        Bundle.load(bundle)


def test_a_link_out_of_the_bundle_is_refused(bundle: Path) -> None:
    (bundle / "head.onnx").rename(bundle.parent / "head.onnx")
    (bundle / "head.onnx").symlink_to(bundle.parent / "head.onnx")
    with pytest.raises(BundleError, match=r"head\.onnx is a link"):
        Bundle.load(bundle)


def test_the_bundle_folder_itself_may_be_a_link(bundle: Path) -> None:
    (bundle.parent / "current").symlink_to(bundle)
    assert Bundle.load(bundle.parent / "current").manifest.name == "toy"


def test_external_data_is_refused(bundle: Path) -> None:
    def move_out(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "../secret"

    edit(bundle, "whole.onnx", move_out)
    with pytest.raises(BundleError, match=r"whole\.onnx keeps tensor .* outside the file"):
        Bundle.load(bundle)


def test_external_data_inside_a_nodes_subgraph_is_refused(bundle: Path) -> None:
    def hide(model: onnx.ModelProto) -> None:
        tensor = numpy_helper.from_array(np.zeros(1, np.float32), "hidden")
        tensor.data_location = TensorProto.EXTERNAL
        value = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1])
        branch = helper.make_graph([], "branch", [], [value], [tensor])
        model.graph.node.append(
            helper.make_node("If", ["c"], ["never"], then_branch=branch, else_branch=branch)
        )

    edit(bundle, "head.onnx", hide)
    with pytest.raises(BundleError, match=r"head\.onnx keeps tensor 'hidden' outside the file"):
        Bundle.load(bundle)


def test_what_is_not_onnx_is_refused(bundle: Path) -> None:
    (bundle / "head.onnx").write_bytes(b"\x80\x04cposix\nsystem\n")
    sign(bundle)
    with pytest.raises(BundleError, match=r"head\.onnx"):
        Bundle.load(bundle)


def test_graphs_of_other_shapes_or_names_than_the_manifest_says_are_refused(bundle: Path) -> None:
    rewrite(bundle, lambda values: values.update(window_days=14))
    with pytest.raises(BundleError, match=r"temporal\.onnx: input 'window' is .*30.*manifest means .*14"):
        Bundle.load(bundle)
    rewrite(bundle, lambda values: values.update(window_days=30))
    shutil.copy(bundle / "temporal.onnx", bundle / "head.onnx")
    sign(bundle)
    with pytest.raises(BundleError, match=r"head\.onnx has inputs window; the contract says state, corners"):
        Bundle.load(bundle)


def test_factored_graphs_of_another_network_fail_the_proof(bundle: Path, tmp_path: Path) -> None:
    other = write_toy_bundle(tmp_path / "other", ToyNetwork(seed=7))
    shutil.copy(other / "spatial.onnx", bundle / "spatial.onnx")
    sign(bundle)
    with pytest.raises(BundleError, match=r"factored graphs differ from whole\.onnx by"):
        Bundle.load(bundle)
    assert not verify(bundle, samples=100).passed


def test_factored_graphs_that_give_nan_fail_the_proof(bundle: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        for index, tensor in enumerate(model.graph.initializer):
            values = numpy_helper.to_array(tensor).copy()
            if values.dtype == np.float32 and values.size > 1:
                values.flat[0] = np.nan
                model.graph.initializer[index].CopyFrom(numpy_helper.from_array(values, tensor.name))

    edit(bundle, "temporal.onnx", spoil)
    with pytest.raises(BundleError, match="differ from"):
        Bundle.load(bundle)


def test_verify_compares_as_many_cells_as_asked_and_repeats(pristine: Path) -> None:
    first, second = verify(pristine, samples=150, seed=3), verify(pristine, samples=150, seed=3)
    assert first == second
    assert (first.samples, first.checksums, first.passed) == (150, True, True)
    assert first.largest_difference is not None
    assert first.largest_difference < 1e-5
    assert first.u8_largest_difference is not None
    assert first.largest_difference < first.u8_largest_difference < 0.004
    assert first.class_agreement is not None
    assert first.class_agreement > 0.95


def test_a_bundle_of_the_whole_network_alone_loads_and_has_no_head(tmp_path: Path) -> None:
    folder = write_toy_bundle(tmp_path / "whole", kind="whole")
    loaded = Bundle.load(folder)
    window = random_window(loaded.manifest, np.random.default_rng(0))
    patches = random_factors(loaded.manifest.factors, 23, np.random.default_rng(0))[None]
    assert loaded.whole(patches, window).shape == (1,)
    with pytest.raises(BundleError, match=r"kind 'whole' and has no temporal\.onnx"):
        loaded.temporal(window)
    found = verify(folder, samples=200)
    assert (found.samples, found.largest_difference, found.passed) == (200, None, True)
    assert found.batch_difference is not None
    assert found.batch_difference <= 1e-6
    assert "from 0 to 1" in found.checked


@pytest.mark.parametrize("kind", ["factored", "whole"])
def test_a_graph_that_uses_what_it_is_said_to_ignore_is_refused(
    kind: Literal["factored", "whole"], tmp_path: Path
) -> None:
    folder = write_toy_bundle(tmp_path / "toy", kind=kind)
    rewrite(folder, lambda values: values.update(ignores=["window"]))
    with pytest.raises(BundleError, match=r"whole\.onnx changes by .* with an input that it ignores"):
        Bundle.load(folder)
    found = verify(folder, samples=50)
    assert not found.passed
    assert found.ignored_difference is not None
    assert found.ignored_difference > 1e-4


def test_a_whole_network_that_gives_no_susceptibility_is_refused(tmp_path: Path) -> None:
    folder = write_toy_bundle(tmp_path / "toy", kind="whole")

    def spoil(model: onnx.ModelProto) -> None:
        last = model.graph.node[-1]
        model.graph.node[-1].output[0] = "index"
        model.graph.node.append(helper.make_node("Mul", ["index", "twice"], ["susceptibility"]))
        model.graph.initializer.append(numpy_helper.from_array(np.float32(7), "twice"))
        assert last.op_type == "Squeeze"

    edit(folder, "whole.onnx", spoil)
    with pytest.raises(BundleError, match=r"gives what is no susceptibility: it leaves 0 to 1"):
        Bundle.load(folder)


def test_windows_give_the_same_embedding_by_one_thread_and_by_three(pristine: Path) -> None:
    loaded = Bundle.load(pristine, prove=False)
    windows = np.repeat(random_window(loaded.manifest, np.random.default_rng(0)), 2500, axis=0)
    windows *= np.linspace(0, 1, 2500, dtype=np.float32)[:, None, None]
    alone = loaded.temporal(windows)
    np.testing.assert_array_equal(Bundle.load(pristine, workers=3, prove=False).temporal(windows), alone)
    assert loaded.temporal(windows[:0]).shape == (0, TOY.channels)


def test_one_bundle_serves_many_threads(pristine: Path) -> None:
    loaded = Bundle.load(pristine, prove=False)
    random = np.random.default_rng(0)
    states = [random.normal(size=(2, TOY.k**2, TOY.channels)).astype(np.float32) for _ in range(16)]
    corners = random.normal(size=(2, 4, TOY.channels)).astype(np.float32)
    alone = [loaded.head(state, corners) for state in states]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(lambda s: loaded.head(s, corners), states), alone, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_random_inputs_lie_within_the_training_ranges_and_reach_across_them(pristine: Path) -> None:
    manifest, _ = read_manifest(pristine)
    random = np.random.default_rng(0)
    factors = random_factors(manifest.factors, 60, random)
    for band, spec in zip(factors, manifest.factors, strict=True):
        if spec.categories is not None:
            assert set(np.unique(band)) <= set(spec.categories)
        else:
            assert spec.minimum is not None
            assert spec.maximum is not None
            assert spec.minimum <= band.min() < band.max() <= spec.maximum
            assert np.ptp(band) > 0.9 * (spec.maximum - spec.minimum)
    for _ in range(20):
        window = random_window(manifest, random)
        assert window[..., 0].min() >= manifest.variables[0].minimum
        assert window[..., 0].max() <= manifest.variables[0].maximum


def test_a_bundle_trained_elsewhere_is_refused_or_never_warns(pristine: Path) -> None:
    manifest, _ = read_manifest(pristine)
    passed = RainTest(passed=True, largest_drop=0, scales=(0, 3), mean_susceptibility=(0.1, 0.2), samples=1)
    warning = manifest.model_copy(update={"rain_test": passed, "may_warn": True})
    assert check_region(warning, "toy", allow_transfer=False) is True
    assert check_region(manifest, "toy", allow_transfer=False) is False
    assert check_region(warning, "kerman", allow_transfer=True) is False
    with pytest.raises(
        BundleError, match=r"trained for region 'toy', this region is 'kerman'.*allow_transfer"
    ):
        check_region(warning, "kerman", allow_transfer=False)


def test_class_agreement_counts_cells_whose_class_changes(bundle: Path) -> None:
    """Breaks so close together that the quantised state must cross one of them somewhere."""
    middle = float(np.median(_susceptibility(bundle)))
    codes = [round(middle / 0.004) + step for step in (-1, 0, 1)]
    breaks = [code * 0.004 for code in codes]
    assert ClassScheme(breaks=(breaks[0], breaks[1], breaks[2]))
    rewrite(bundle, lambda values: values.update(classes={"breaks": breaks}))
    found = verify(bundle, samples=640)
    assert found.class_agreement is not None
    assert found.class_agreement < 1


def _susceptibility(folder: Path) -> Any:
    loaded, random = Bundle.load(folder, prove=False), np.random.default_rng(0)
    windows = np.concatenate([random_window(loaded.manifest, random) for _ in range(30)])
    patches = np.stack([random_factors(loaded.manifest.factors, 23, random) for _ in range(30)])
    return loaded.whole(patches, windows)
