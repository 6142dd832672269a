"""What is exported is the network that was trained, in files that the service accepts."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import trainer.bundle
from exporters.layer import ClassScheme
from service.bundle import Bundle, read_manifest, verify
from service.errors import BundleError
from service.manifest import RainTest, Training
from tests.trainer.fix_network import patches_of, tile, trained_like, windows
from trainer.bundle import export_bundle
from trainer.networks.cnn_lstm import CnnLstm
from trainer.networks.factored import spatial_graph
from trainer.rain_test import rain_test

PASSED = RainTest(
    passed=True, largest_drop=0.001, scales=(0.0, 3.0), mean_susceptibility=(0.25, 0.75), samples=12
)
TRAINING = Training(
    region="toy",
    data="invented slides of 2020",
    synthetic=True,
    samples={"train": 20, "validation": 4},
    events=7,
    sampling_ratio=2.0,
    split="by storm",
    seed=0,
    metrics={"auc": 0.81},
    assumed=("a choice of the caller",),
)


def export(model: CnnLstm, folder: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "name": "toy",
        "version": "1.0",
        "created": datetime(2026, 1, 2, tzinfo=UTC),
        "classes": ClassScheme(breaks=(0.248, 0.5, 0.752)),
        "training": TRAINING,
        "rain_test": PASSED,
        "forcing_cell": 4,
        "report": {"curve.csv": b"epoch,loss\n"},
    }
    export_bundle(model, folder, **(values | changes))
    return folder


@pytest.fixture(scope="module")
def model() -> CnnLstm:
    return trained_like()


@pytest.fixture(scope="module")
def exported(model: CnnLstm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(model, tmp_path_factory.mktemp("export") / "toy")


def test_whole_onnx_is_the_torch_network(model: CnnLstm, exported: Path) -> None:
    patches, window = patches_of(tile(23, 28), 23), windows(6)
    with torch.no_grad():
        expected = model(torch.from_numpy(patches), torch.from_numpy(window)).numpy()
    found = Bundle.load(exported).whole(patches, window)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(expected) > 1e-4


def test_whole_onnx_runs_an_lstm_and_not_an_unrolled_loop(exported: Path) -> None:
    graph = onnx.load(exported / "whole.onnx").graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("LSTM") == 2
    assert not {"Loop", "Scan", "If", "Dropout"} & set(operators)


def test_factored_and_whole_agree_on_many_cells(exported: Path) -> None:
    found = verify(exported, samples=400)
    assert found.passed
    assert found.largest_difference is not None
    assert found.largest_difference <= 1e-5
    assert found.u8_largest_difference is not None
    assert found.u8_largest_difference <= 0.004


@pytest.mark.slow  # traces the network once more
def test_two_exports_of_the_same_weights_are_the_same_files(exported: Path, tmp_path: Path) -> None:
    again = export(trained_like(), tmp_path / "again")
    names = sorted(path.relative_to(exported) for path in exported.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in names:
        assert (exported / name).read_bytes() == (again / name).read_bytes(), name


def test_no_path_or_tool_version_of_this_machine_stays_in_the_graphs(exported: Path) -> None:
    for path in exported.glob("*.onnx"):
        content = path.read_bytes()
        for trace in (b"/trainer/", b"site-packages", b'File "', torch.__version__.encode(), b"pytorch"):
            assert trace not in content, (path.name, trace)


def test_the_manifest_lists_every_file_with_its_digest(exported: Path) -> None:
    manifest, _ = read_manifest(exported)
    files = {path.relative_to(exported).as_posix(): path for path in exported.rglob("*") if path.is_file()}
    del files["manifest.json"]
    assert manifest.files == {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in files.items()}
    assert {"model-card.md", "report/curve.csv"} <= set(manifest.files)


def test_what_the_paper_leaves_open_stands_beside_what_the_caller_assumed(exported: Path) -> None:
    manifest, _ = read_manifest(exported)
    assert manifest.training.assumed[0] == "a choice of the caller"
    words = " ".join(manifest.training.assumed)
    for choice in ("patch size", "padding", "input of the CNN", "L2 0.01", "dropout 0.2"):
        assert choice in words


def test_the_model_card_says_in_words_what_stands_behind_the_model(exported: Path) -> None:
    card = (exported / "model-card.md").read_text()
    for words in (
        "Synthetic: trained on data made by a program",
        "invented slides of 2020",
        "Only 7 dated landslides",
        "by storm",
        "| auc | 0.81 |",
        "Rain test: **passed**",
        "| 3 | 0.7500 |",
        "May warn: **yes**",
        "**not** the probability of a landslide",
        "padding: none",
        "1 forest, 3 rock, 7 field",
    ):
        assert words in card


@pytest.mark.parametrize(
    ("given", "withheld", "may_warn", "words"),
    [
        (PASSED, None, True, "rain test passed"),
        (PASSED, "five events only", False, "five events only"),
        (None, None, False, "was not run"),
        (PASSED.model_copy(update={"passed": False, "largest_drop": 0.07}), None, False, "up to 0.070"),
    ],
)
def test_a_bundle_may_warn_only_after_a_rain_test_that_passed(
    given: RainTest | None,
    withheld: str | None,
    may_warn: bool,
    words: str,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The trace is the slow part and not what is looked at here.
    whole = onnx.load(exported / "whole.onnx")
    monkeypatch.setattr(trainer.bundle, "whole_graph", lambda _: whole)
    folder = export(trained_like(), tmp_path / "toy", rain_test=given, withhold_warnings=withheld)
    manifest, _ = read_manifest(folder)
    assert manifest.may_warn is may_warn
    assert words in manifest.may_warn_reason


def test_graphs_that_are_not_the_network_leave_no_bundle(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = onnx.load(exported / "whole.onnx")
    monkeypatch.setattr(trainer.bundle, "whole_graph", lambda _: whole)
    monkeypatch.setattr(trainer.bundle, "spatial_graph", lambda _: spatial_graph(trained_like(seed=5)))
    with pytest.raises(BundleError, match="differ from"):
        export(trained_like(), tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_bundle_is_never_rewritten(model: CnnLstm, exported: Path) -> None:
    with pytest.raises(BundleError, match="exists"):
        export(model, exported)


def test_the_rain_test_runs_on_a_bundle_as_on_its_model(model: CnnLstm, exported: Path) -> None:
    patches, window = patches_of(tile(23, 26), 23), windows(4)
    of_model = rain_test(model, window, patches=patches)
    of_bundle = rain_test(Bundle.load(exported), window, patches=patches)
    assert of_bundle.largest_drop == pytest.approx(of_model.largest_drop, abs=1e-5)
    assert of_bundle.mean_susceptibility == pytest.approx(of_model.mean_susceptibility, abs=1e-5)
