"""An exported detector says of itself what is true, and gives what the trained network gives."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from service.detection.detector import Detector
from service.detection.manifest import CARD, MODEL, DetectorManifest, DetectorScores
from service.errors import InputError, UsageError
from service.files import sha256_file
from service.runtime import make_session
from tests.trainer.detection.fix_learnable import TINY, fitted
from trainer.detection.export import (
    INPUT,
    OUTPUT,
    TOLERANCE,
    Told,
    detector_graph,
    export_detector,
    prove,
    random_patches,
)
from trainer.detection.fit import FittedDetector

SCORES = DetectorScores(
    data="patches of another place", patches=3, precision=0.5, recall=0.25, f1=1 / 3, iou=0.2
)
TOLD = Told(
    name="tiny",
    version="7",
    created=datetime(2026, 1, 2, tzinfo=UTC),
    trained_on="eight made patches",
    threshold_chosen_on="four made patches, F1",
    command="colluvium detector train made --out here",
    scores=SCORES,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> FittedDetector:
    return fitted(tmp_path_factory.mktemp("training"), replace(TINY, epochs=1))


@pytest.fixture(scope="module")
def written(small: FittedDetector, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DetectorManifest]:
    """Return the detector's folder, which is not to be changed, and what the export returned."""
    folder = tmp_path_factory.mktemp("exported") / "detector"
    return folder, export_detector(small, folder, TOLD)


@pytest.fixture(scope="module")
def content(small: FittedDetector) -> bytes:
    return detector_graph(small.network, 4, 32).SerializeToString()


def test_a_detector_is_loaded_by_the_service_and_gives_what_torch_gives(
    small: FittedDetector, written: tuple[Path, DetectorManifest]
) -> None:
    loaded = Detector.load(written[0])
    given = random_patches(small, 5, seed=4)
    with torch.no_grad():
        wanted = small.network(torch.from_numpy(given))[:, 0].numpy()
    assert np.isnan(given[0]).any()
    assert np.abs(loaded.predict(given) - wanted).max() < TOLERANCE
    assert loaded.reference.synthetic


def test_the_manifest_holds_what_the_training_knows_and_what_it_was_told(
    small: FittedDetector, written: tuple[Path, DetectorManifest]
) -> None:
    folder, made = written
    assert made == DetectorManifest.model_validate_json((folder / "detector.json").read_bytes())
    assert made.bands == small.statistics
    assert made.threshold == small.best.threshold
    assert (made.patch, made.pixel_size_m, made.radiometry) == (32, 10.0, "reflectance")
    assert made.pretrained == "from scratch"
    assert made.scores == SCORES
    for name in (MODEL, CARD):
        assert made.files[name] == sha256_file(folder / name)


def test_the_card_says_where_it_comes_from_and_what_it_is_not_for(
    written: tuple[Path, DetectorManifest],
) -> None:
    card = (written[0] / CARD).read_text()
    for words in (
        "Synthetic", "eight made patches", "four made patches, F1", "patches of another place", "0.3333",
        "Not to be used", "from scratch", "never seen a real landslide", TOLD.command, "near infrared",
    ):  # fmt: skip
        assert words in card


def test_a_card_of_published_patches_warns_of_reflectance(small: FittedDetector, tmp_path: Path) -> None:
    real = replace(small, radiometry="landslide4sense", synthetic=False)
    export_detector(real, tmp_path / "detector", TOLD)
    card = (tmp_path / "detector" / CARD).read_text()
    assert "on reflectance" in card
    assert "Synthetic" not in card


def test_the_graph_is_plain_data_for_an_older_runtime(content: bytes) -> None:
    graph = onnx.load_from_string(content)
    assert graph.ir_version == 10
    assert [(item.domain, item.version) for item in graph.opset_import] == [("", 18)]
    ports = [
        (port.name, port.type.tensor_type.shape.dim) for port in (*graph.graph.input, *graph.graph.output)
    ]
    assert [name for name, _ in ports] == [INPUT, OUTPUT]
    for _, sides in ports:
        assert sides[0].dim_param == "n"
        assert [side.dim_value for side in sides][2:] == [32, 32]
    tensors = graph.graph.initializer
    assert tensors
    assert not any(one.external_data or one.data_location == onnx.TensorProto.EXTERNAL for one in tensors)
    assert b"/" not in b"".join(node.name.encode() for node in graph.graph.node)
    assert "trainer" not in str(graph.metadata_props) + graph.doc_string + graph.producer_version


def test_the_same_weights_give_the_same_bytes(small: FittedDetector, content: bytes) -> None:
    assert detector_graph(small.network, 4, 32).SerializeToString() == content


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_patches_goes_in(small: FittedDetector, content: bytes, count: int) -> None:
    session = make_session(content, "trial")
    found = session.run([OUTPUT], {INPUT: random_patches(small, count)})[0]
    assert found.shape == (count, 1, 32, 32)


def test_wholly_unknown_patches_give_probabilities(content: bytes) -> None:
    session = make_session(content, "trial")
    found = session.run([OUTPUT], {INPUT: np.full((2, 4, 32, 32), np.nan, np.float32)})[0]
    assert ((found > 0) & (found < 1)).all()


def test_a_graph_of_other_weights_is_refused(small: FittedDetector, content: bytes) -> None:
    other = replace(small, network=copy.deepcopy(small.network))
    with torch.no_grad():
        other.network.network.head.bias += 1  # type: ignore[union-attr, operator]
    with pytest.raises(InputError, match="differs from the trained network"):
        prove(other, content)


class Blind(nn.Module):
    """Gives NaN where something is unknown, as a network without our scaling would."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return (patches[:, :1] * self.weight).sigmoid()


def test_a_network_that_gives_no_numbers_is_not_written(small: FittedDetector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no numbers"):
        export_detector(replace(small, network=Blind()), tmp_path / "detector", TOLD)
    assert not (tmp_path / "detector").exists()


def test_a_detector_that_is_there_is_not_written_over(
    small: FittedDetector, written: tuple[Path, DetectorManifest]
) -> None:
    before = (written[0] / CARD).read_bytes()
    with pytest.raises(UsageError, match="exists"):
        export_detector(small, written[0], replace(TOLD, trained_on="something else"))
    assert (written[0] / CARD).read_bytes() == before


def test_elevation_that_scenes_do_not_have_is_refused(small: FittedDetector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="relative to its patch"):
        export_detector(replace(small, elevation="relative"), tmp_path / "detector", TOLD)
