"""A trained detector as the service uses it: detector.json, model.onnx and card.md in one folder.

The graph takes patches in the bands' own units with NaN where unknown, scales them, and gives probabilities.
It is written only after ONNX Runtime has given what torch gives.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from service.detection.manifest import CARD, MANIFEST, MODEL, DetectorManifest, DetectorScores
from service.errors import InputError, UsageError
from service.files import replacing_folder, sha256_file
from service.runtime import make_session
from trainer.detection.card import detector_card
from trainer.detection.fit import FittedDetector
from trainer.networks.factored import IR_VERSION, OPSET
from trainer.networks.whole import quiet, scrub

INPUT, OUTPUT = "patches", "probability"
TOLERANCE = 1e-4  # of probability, ONNX Runtime against torch
_LARGEST = 2**31 - 1  # bytes of a protobuf message; more would need external data, which is refused


@dataclass(frozen=True)
class Told:
    """What a manifest and its card say that no training knows by itself."""

    name: str
    version: str
    created: datetime
    trained_on: str  # in words: which data, which split
    threshold_chosen_on: str
    command: str  # the line that makes it again
    scores: DetectorScores | None = None


def export_detector(fitted: FittedDetector, folder: Path, told: Told) -> DetectorManifest:
    """Write a detector into a folder that is not there yet; nothing of it stays where a step fails.

    Raises UsageError where the folder holds something; InputError for a detector that was trained on
    elevation relative to its patch (the service gives metres above sea level), that is too large for one
    graph, or whose graph does not give what torch gives.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists; give another folder, or move it away")
    if fitted.elevation != "absolute":
        raise InputError(
            "this detector was trained on elevation relative to its patch, which no scene is cut with; train "
            "on absolute elevation, or leave the band out"
        )
    graph = detector_graph(fitted.network, len(fitted.statistics), fitted.patch)
    content = graph.SerializeToString()
    prove(fitted, content)
    with replacing_folder(folder) as temporary:
        (temporary / MODEL).write_bytes(content)
        manifest = _manifest(fitted, told, {MODEL: sha256_file(temporary / MODEL)})
        (temporary / CARD).write_text(detector_card(fitted, manifest, told.command), "utf-8")
        files = {**manifest.files, CARD: sha256_file(temporary / CARD)}
        manifest = manifest.model_copy(update={"files": files})
        (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
    return manifest


def detector_graph(network: nn.Module, channels: int, patch: int) -> onnx.ModelProto:
    """Return `patches` float32 (n, C, P, P) -> `probability` (n, 1, P, P); n is free, C and P are not.

    Opset 18 and IR 10, which ONNX Runtime 1.20 reads. Nothing of the machine or the moment stays in it.
    """
    network.eval()
    # Two of them: a batch of one would be traced as a constant.
    example = torch.zeros(2, channels, patch, patch)
    with quiet():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim("n")}},
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    size = sum(value.nbytes for value in network.state_dict().values())
    if size >= _LARGEST:
        raise InputError(
            f"{size / 1e9:.1f} GB of weights do not go into one graph of 2 GB; take fewer members, or "
            "average their weights"
        )
    # Through bytes: the program's own message shares memory with torch's weights.
    buffer = io.BytesIO()
    onnx.save(program.model_proto, buffer)
    graph = onnx.load_from_string(buffer.getvalue())
    scrub(graph, "detector")
    graph.ir_version = IR_VERSION
    _name_batch(graph)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def prove(fitted: FittedDetector, content: bytes, patches: int = 3, seed: int = 0) -> float:
    """Return the greatest difference between ONNX Runtime and torch on random patches with holes.

    Raises InputError where it is more than TOLERANCE, or a value is no probability.
    """
    given = random_patches(fitted, patches, seed)
    session = make_session(content, MODEL)
    found = session.run([OUTPUT], {INPUT: given})[0]
    with torch.no_grad():
        wanted = fitted.network.eval()(torch.from_numpy(given)).numpy()
    if not (np.isfinite(wanted).all() and np.isfinite(found).all()):
        raise InputError("the detector gives values that are no numbers; it cannot be used")
    apart = float(np.abs(found - wanted).max())
    if apart > TOLERANCE:
        raise InputError(
            f"the exported graph differs from the trained network by {apart:.2g} of probability; at most "
            f"{TOLERANCE:g} is allowed"
        )
    return apart


def random_patches(fitted: FittedDetector, count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return patches (n, C, P, P) as the bands' statistics have them; a corner of the first is unknown.

    Neighbours and bands go together as in a picture (amplitude falls with frequency): white noise drives a
    network to values that no scene does, at which float32 keeps no fourth digit.
    """
    random = np.random.default_rng(seed)
    mean, std = (
        np.array([getattr(band, part) for band in fitted.statistics], np.float32)[None, :, None, None]
        for part in ("mean", "std")
    )
    channels, size = len(fitted.statistics), fitted.patch
    white = random.normal(size=(count, channels + 1, size, size))
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    falls = 1 / np.maximum(np.hypot(rows, columns), 1 / size)
    drawn = np.fft.irfft2(np.fft.rfft2(white) * falls, s=(size, size))
    drawn /= drawn.std(axis=(2, 3), keepdims=True)
    given = (mean + std * (0.8 * drawn[:, -1:] + 0.6 * drawn[:, :-1])).astype(np.float32)
    given[0, :, : fitted.patch // 4, : fitted.patch // 3] = np.nan
    return given


def _name_batch(graph: onnx.ModelProto) -> None:
    for port in (*graph.graph.input, *graph.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "n"


def _manifest(fitted: FittedDetector, told: Told, files: dict[str, str]) -> DetectorManifest:
    return DetectorManifest(
        name=told.name,
        version=told.version,
        created=told.created,
        architecture=fitted.architecture,
        radiometry=fitted.radiometry,
        bands=fitted.statistics,
        pixel_size_m=fitted.pixel_size_m,
        patch=fitted.patch,
        threshold=fitted.best.threshold,
        threshold_chosen_on=told.threshold_chosen_on,
        trained_on=told.trained_on,
        synthetic=fitted.synthetic,
        pretrained=fitted.pretrained,
        data_digest=fitted.data_digest,
        scores=told.scores,
        test_time_augmentation=fitted.settings.test_time_augmentation,
        files=files,
    )
