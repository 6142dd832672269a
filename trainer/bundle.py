"""A trained network -> a bundle on disk, proven by loading it as the service does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import onnx
import structlog

from exporters.layer import ClassScheme
from service.bundle import Bundle
from service.errors import BundleError
from service.files import replacing_folder, sha256_file, write_json
from service.manifest import MANIFEST_NAME, WHOLE, Manifest, RainTest, Training
from trainer import fit
from trainer.model_card import model_card
from trainer.networks import cnn_lstm
from trainer.networks.cnn_lstm import DENSE_UNITS, CnnLstm
from trainer.networks.factored import head_graph, head_u8_graph, spatial_graph, temporal_graph
from trainer.networks.whole import whole_graph

ASSUMED = (*cnn_lstm.ASSUMED, *fit.ASSUMED)
_log = structlog.get_logger()


def export_bundle(
    model: CnnLstm,
    folder: Path,
    *,
    name: str,
    version: str,
    created: datetime,
    classes: ClassScheme,
    training: Training,
    rain_test: RainTest | None,
    withhold_warnings: str | None = None,
    lag_days: int = 1,
    forcing_cell: int = 32,
    notes: Sequence[str] = (),
    report: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write the bundle of a trained model to `folder`, which must not exist, and return its manifest.

    `created` is aware (UTC); it is an argument so that the same weights give the same files. The bundle may
    warn when its rain test passed, unless `withhold_warnings` says why not. What the paper leaves open is
    added to `training.assumed`. `notes` go to the model card, `report` (file name -> contents) to report/.

    Raises BundleError when `folder` exists or the factored graphs are not the network; nothing is then left.
    """
    if folder.exists():
        raise BundleError(f"{folder} exists; a finished bundle is never rewritten, give another folder")
    if created.tzinfo is None:
        raise ValueError(f"created must say its time zone, got {created}")
    assumed = (*training.assumed, *(line for line in ASSUMED if line not in training.assumed))
    training = training.model_copy(update={"assumed": assumed})
    may_warn, reason = _may_warn(rain_test, withhold_warnings)
    with replacing_folder(folder) as temporary:
        graphs = {
            "spatial.onnx": spatial_graph(model),
            "temporal.onnx": temporal_graph(model),
            "head.onnx": head_graph(model, forcing_cell),
            "head_u8.onnx": head_u8_graph(model, forcing_cell),
            WHOLE: whole_graph(model),
        }
        for file_name, graph in graphs.items():
            onnx.save(graph, temporary / file_name, save_as_external_data=False)
        for file_name, content in sorted((report or {}).items()):
            (temporary / "report").mkdir(exist_ok=True)
            (temporary / "report" / file_name).write_bytes(content)

        def manifest_of(files: dict[str, str]) -> Manifest:
            return Manifest(
                name=name,
                version=version,
                created=created,
                kind="factored",
                factors=model.inputs.factors,
                variables=model.inputs.variables,
                window_days=model.inputs.window_days,
                lag_days=lag_days,
                patch=model.inputs.patch,
                forcing_cell=forcing_cell,
                channels=DENSE_UNITS[0],
                classes=classes,
                training=training,
                rain_test=rain_test,
                may_warn=may_warn,
                may_warn_reason=reason,
                files=files,
            )

        card = model_card(manifest_of(_checksums(temporary)), notes)
        (temporary / "model-card.md").write_text(card, "utf-8")
        manifest = manifest_of(_checksums(temporary))
        write_json(temporary / MANIFEST_NAME, manifest.model_dump(mode="json"))
        proven = Bundle.load(temporary)
    _log.info("bundle exported", bundle=name, version=version, size_bytes=proven.size_bytes)
    return manifest


def _may_warn(rain_test: RainTest | None, withheld: str | None) -> tuple[bool, str]:
    reasons = [withheld] if withheld else []
    if rain_test is None:
        reasons.append("the rain test was not run")
    elif not rain_test.passed:
        drop = rain_test.largest_drop
        reasons.append(f"the rain test failed: heavier rain lowered the index by up to {drop:.3f}")
    if reasons:
        return False, "; ".join(reasons)
    return True, "the rain test passed: heavier rain never lowers the index"


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
