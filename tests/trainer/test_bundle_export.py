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
import trainer.models._network
from exporters.layer import ClassScheme, Odds
from service.bundle import Bundle, read_manifest, verify
from service.errors import BundleError, InputError
from service.manifest import RainTest, Training
from tests.trainer.fix_network import patches_of, tile, trained_like, windows
from tests.trainer.models.fix_data import made_up, parts, without_windows
from trainer.bundle import export_bundle, export_fitted, export_whole
from trainer.calibration import Calibration
from trainer.models import recipe_of
from trainer.models._network import NetworkFitted
from trainer.models.base import Job
from trainer.networks.cnn_lstm import CnnLstm
from trainer.networks.factored import spatial_graph
from trainer.rain_test import rain_test, rain_test_of

PASSED = RainTest(
    passed=True, largest_drop=0.001, scales=(0.0, 3.0), mean_susceptibility=(0.25, 0.75), samples=12
)
PLATT = Calibration(method="platt", slope=1.7, intercept=-0.4, samples=30, positives=12)
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


@pytest.fixture
def quick(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the trace of the same weights: it is the slow part and not what is looked at."""
    whole = onnx.load(exported / "whole.onnx")
    monkeypatch.setattr(trainer.bundle, "whole_graph", lambda _: whole)


def test_members_calibration_and_odds_leave_in_the_bundle(
    model: CnnLstm, exported: Path, quick: None, tmp_path: Path
) -> None:
    odds = Odds(event_rate=1e-5, per="cell and day", positives_share=0.4)
    folder = export(
        model, tmp_path / "toy", members=[trained_like(), trained_like()], calibration=PLATT,
        member_calibrations=[PLATT, None], odds=odds, title="CNN-LSTM, calibrated",
    )  # fmt: skip
    loaded = Bundle.load(folder)
    manifest = loaded.manifest
    assert (manifest.members, manifest.odds, manifest.calibration) == (2, odds, PLATT.words)
    assert manifest.model == "CNN-LSTM, calibrated"
    patches, window = patches_of(tile(23, 28), 23), windows(6)
    plain = Bundle.load(exported).whole(patches, window)
    expected = PLATT.apply(plain)
    assert np.abs(expected - plain).max() > 0.01
    np.testing.assert_allclose(loaded.whole(patches, window), expected, atol=1e-5)
    np.testing.assert_allclose(loaded.member(1).whole(patches, window), expected, atol=1e-5)
    np.testing.assert_allclose(loaded.member(2).whole(patches, window), plain, atol=1e-6)
    state = np.random.default_rng(0).normal(size=(1, 16, 128)).astype(np.float32)
    corners = np.zeros((1, 4, 128), np.float32)
    before = Bundle.load(exported).head(state, corners)
    np.testing.assert_allclose(loaded.head(state, corners), PLATT.apply(before), atol=1e-5)


def test_steps_of_a_calibration_are_kept_from_the_state_in_bytes(
    model: CnnLstm, exported: Path, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Calibration(method="isotonic", before=(0.4, 0.401, 0.6), after=(0.1, 0.8, 0.9), samples=200)
    with pytest.raises(InputError, match="isotonic calibration has steps"):
        export(model, tmp_path / "factored", calibration=steps)
    whole = onnx.load(exported / "whole.onnx")
    monkeypatch.setattr(trainer.models._network, "whole_graph", lambda _: whole)
    fitted = NetworkFitted(
        network=model, sees=("patches", "window"), title="CNN-LSTM", threads=1, placed=True
    )
    manifest = export_fitted(
        fitted, tmp_path / "whole", title="CNN-LSTM", name="toy", version="1.0",
        created=datetime(2026, 1, 2, tzinfo=UTC), classes=ClassScheme(breaks=(0.248, 0.5, 0.752)),
        training=TRAINING, rain_test=PASSED, calibration=steps,
    )  # fmt: skip
    assert (manifest.kind, manifest.calibration) == ("whole", steps.words)
    assert any(line.startswith("recurrent dropout") for line in manifest.training.assumed)
    patches, window = patches_of(tile(23, 28), 23), windows(6)
    expected = steps.apply(Bundle.load(exported).whole(patches, window))
    found = Bundle.load(tmp_path / "whole").whole(patches, window)
    np.testing.assert_allclose(found, expected, atol=1e-3)  # a step of 0.7 within 0.001


def test_members_of_another_make_are_refused(model: CnnLstm, quick: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="member 1 of toy was trained on other inputs"):
        export(model, tmp_path / "toy", members=[trained_like(22)])
    with pytest.raises(InputError, match="1 members, but 2 calibrations"):
        export(model, tmp_path / "toy", members=[trained_like()], member_calibrations=[PLATT, PLATT])
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_respond_to_rain_may_not_warn(
    model: CnnLstm, quick: None, tmp_path: Path
) -> None:
    deaf = PASSED.model_copy(update={"mean_susceptibility": (0.25, 0.2539)})
    assert (PASSED.responds, deaf.responds) == (True, False)
    manifest, _ = read_manifest(export(model, tmp_path / "toy", rain_test=deaf))
    assert not manifest.may_warn
    assert "does not respond to rain" in manifest.may_warn_reason


def test_a_model_of_one_graph_leaves_as_a_bundle_that_says_what_it_ignores(tmp_path: Path) -> None:
    data = made_up(200)
    train, validation, _ = parts(data)
    both, place = (
        recipe_of("logistic_regression").fit(one, train, validation, Job())
        for one in (data, without_windows(data))
    )
    particulars: dict[str, Any] = {
        "name": "lr", "version": "1", "created": datetime(2026, 1, 2, tzinfo=UTC), "rain_test": PASSED,
        "classes": ClassScheme(breaks=(0.248, 0.5, 0.752)), "training": TRAINING,
    }  # fmt: skip
    export_whole(
        place.whole(), tmp_path / "place", title="Logistic regression", members=[place.whole()], **particulars
    )
    export_whole(both.whole(), tmp_path / "both", title="Logistic regression", **particulars)

    manifest, _ = read_manifest(tmp_path / "place")
    assert (manifest.kind, manifest.patch, manifest.members) == ("whole", 1, 1)
    assert manifest.ignores == ("window",)
    assert not manifest.may_warn
    assert "does not look at the window" in manifest.may_warn_reason
    assert manifest.training.assumed == TRAINING.assumed  # what the hybrid assumes is none of its business
    both_manifest, _ = read_manifest(tmp_path / "both")
    assert (both_manifest.ignores, both_manifest.may_warn) == ((), True)
    assert verify(tmp_path / "place", samples=100).passed
    found = Bundle.load(tmp_path / "both")
    assert data.patches is not None
    assert data.windows is not None
    inner = np.ascontiguousarray(data.patches[:, :, 11:12, 11:12])
    expected = both.predict(data.patches, data.windows)
    np.testing.assert_allclose(found.whole(inner, data.windows), expected, atol=1e-5)
    with pytest.raises(InputError, match="member 1 of lr was trained on other inputs"):
        export_whole(both.whole(), tmp_path / "mixed", title="x", members=[place.whole()], **particulars)

    tried = slice(0, 20)
    of_fitted = rain_test_of(both, found.manifest.variables, data.windows[tried], patches=data.patches[tried])
    of_bundle = rain_test(found, data.windows[tried], patches=data.patches[tried])
    assert of_fitted.responds
    assert of_bundle.mean_susceptibility == pytest.approx(of_fitted.mean_susceptibility, abs=1e-4)
    of_place = rain_test_of(place, found.manifest.variables, data.windows[tried], patches=data.patches[tried])
    assert (of_place.passed, of_place.responds) == (True, False)
