"""A detector is checked before it is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.detection.detector import Detector
from service.detection.manifest import MANIFEST, MODEL
from service.errors import BundleError, InputError
from tests.fix_detection import bright_graph, make_detector, pattern


def test_a_detector_gives_a_probability_for_each_cell(tmp_path: Path) -> None:
    detector = Detector.load(make_detector(tmp_path))
    batch = np.random.default_rng(0).random((3, 2, 32, 32), np.float32) * 0.4
    batch[0, :, :4] = np.nan
    found = detector.predict(batch)
    expected = np.clip(4 * np.nan_to_num(batch[:, 0]), 0, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert detector.reference.words == f"toy 1 ({detector.digest[:8]})"


def test_test_time_augmentation_is_the_mean_over_turns_and_mirrors_laid_back(tmp_path: Path) -> None:
    # What the place within the patch adds, 0.5 + pattern / 2, is averaged out; what the ground gives is not.
    graph = bright_graph(2, 32, position=True)
    plain = Detector.load(make_detector(tmp_path / "plain", graph=graph))
    turned = Detector.load(make_detector(tmp_path / "turned", graph=graph, test_time_augmentation=True))
    batch = np.full((1, 2, 32, 32), 0.12, np.float32)
    batch[0, 0, 3, 20] = 0.15
    once, mean = plain.predict(batch)[0], turned.predict(batch)[0]
    flat = np.delete(mean.ravel(), 3 * 32 + 20)
    turns = [np.rot90(way, turn) for way in (pattern(32), pattern(32).T) for turn in range(4)]
    expected = np.clip(np.mean(turns, axis=0) + 0.48, 0, 1)
    np.testing.assert_allclose(flat, np.delete(expected.ravel(), 3 * 32 + 20), atol=1e-6)
    assert mean[3, 20] - expected[3, 20] == pytest.approx(0.12, abs=1e-5)
    assert np.ptp(once) > 2 * np.ptp(flat)


def _edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        record = json.loads((folder / MANIFEST).read_text())
        change(record)
        (folder / MANIFEST).write_text(json.dumps(record))

    return edit


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "Invalid JSON"),
        (lambda folder: (folder / MANIFEST).write_bytes(b" " * (2**20 + 1)), "larger than"),
        (_edited(lambda record: record.update(threshold=2)), "threshold"),
        (_edited(lambda record: record.update(files={})), "lists no model.onnx"),
        (_edited(lambda record: record["files"].update({"../outside": "0"})), "plain names"),
        (_edited(lambda record: record["files"].update({"card.md": "0"})), "no file here"),
        (lambda folder: (folder / MODEL).write_bytes(b"other"), "differs from the SHA-256"),
    ],
)
def test_a_folder_that_is_not_what_its_manifest_says_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    folder = make_detector(tmp_path)
    damage(folder)
    with pytest.raises(InputError, match=words):
        Detector.load(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = make_detector(tmp_path / "detector")
    (folder / MODEL).rename(tmp_path / "elsewhere.onnx")
    (folder / MODEL).symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(InputError, match="no file here"):
        Detector.load(folder)


def test_weights_outside_the_graph_are_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(bright_graph(2, 32))
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    folder = make_detector(tmp_path, graph=model.SerializeToString())
    with pytest.raises(BundleError, match="outside the file"):
        Detector.load(folder)


def _node(*nodes: Any) -> bytes:
    return bright_graph(2, 32, nodes=nodes)


_PLANE = helper.make_node("Gather", ["patches", "first"], ["plane"], axis=1)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (bright_graph(3, 32), "manifest means patches"),
        (bright_graph(2, 48), "manifest means patches"),
        (_node(_PLANE, helper.make_node("Identity", ["plane"], ["probability"])), "no probabilities"),
        (
            _node(_PLANE, helper.make_node("Mul", ["plane", "four"], ["more"]),
                  helper.make_node("Exp", ["more"], ["probability"])),
            "no probabilities",
        ),
        (
            # The mean over a batch: as batch normalisation does that was left in training.
            _node(_PLANE, helper.make_node("IsNaN", ["plane"], ["unknown"]),
                  helper.make_node("Where", ["unknown", "zero", "plane"], ["known"]),
                  helper.make_node("ReduceMean", ["known"], ["mean"], axes=[0], keepdims=1),
                  helper.make_node("Sub", ["known", "mean"], ["apart"]),
                  helper.make_node("Sigmoid", ["apart"], ["probability"])),
            "beside others",
        ),
    ],
)  # fmt: skip
def test_a_graph_that_is_no_detector_is_refused_before_it_is_used(
    tmp_path: Path, graph: bytes, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Detector.load(make_detector(tmp_path, graph=graph))


def test_other_names_of_input_and_output_are_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(bright_graph(2, 32))
    model.graph.node.append(helper.make_node("Identity", ["probability"], ["mask"]))
    model.graph.output[0].name = "mask"
    folder = make_detector(tmp_path, graph=model.SerializeToString())
    with pytest.raises(InputError, match="has output mask"):
        Detector.load(folder)
