"""A trained model -> a bundle on disk, proven by loading it as the service does.

export_bundle   a CnnLstm: the factored files and whole.onnx
export_whole    any model as one graph: whole.onnx alone
export_fitted   what a recipe gave, by whichever of the two it allows
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NotRequired, TypedDict, Unpack

import onnx
import structlog

from exporters.layer import SCALE, ClassScheme, Odds
from service.bundle import Bundle
from service.errors import BundleError, InputError
from service.files import replacing_folder, sha256_file, write_json
from service.manifest import (
    FACTORED,
    MANIFEST_NAME,
    WHOLE,
    FactorSpec,
    Manifest,
    OutputReference,
    RainTest,
    Training,
    VariableSpec,
    member_file,
)
from trainer import fit
from trainer.calibration import OUTPUT, Calibration
from trainer.model_card import model_card
from trainer.models.base import Fitted, Input, WholeGraph
from trainer.networks import cnn_lstm
from trainer.networks.cnn_lstm import DENSE_UNITS, CnnLstm
from trainer.networks.factored import head_graph, head_u8_graph, spatial_graph, temporal_graph
from trainer.networks.whole import whole_graph

ASSUMED = (*cnn_lstm.ASSUMED, *fit.ASSUMED)
# What of ASSUMED speaks of one branch alone, by the words it begins with.
_OF_BRANCH: dict[Input, tuple[str, ...]] = {
    "patches": ("patch size", "padding", "input of the CNN", "order inside a block", "batch norm"),
    "window": ("recurrent dropout",),
}
_log = structlog.get_logger()

Graphs = dict[str, onnx.ModelProto]


class Particulars(TypedDict):
    """What a bundle says of itself, whatever its kind."""

    name: str
    version: str
    created: datetime  # aware; an argument, so that the same weights give the same files
    classes: ClassScheme
    training: Training
    rain_test: RainTest | None
    withhold_warnings: NotRequired[str | None]  # why it may not warn, although its rain test passed
    lag_days: NotRequired[int]  # 1
    forcing_cell: NotRequired[int]  # 32
    notes: NotRequired[Sequence[str]]  # paragraphs of the model card
    report: NotRequired[Mapping[str, bytes] | None]  # file name -> contents, to report/
    calibration: NotRequired[Calibration | None]  # goes into the graphs
    member_calibrations: NotRequired[Sequence[Calibration | None]]  # none: the main model's for all
    odds: NotRequired[Odds | None]
    reference: NotRequired[OutputReference | None]


def export_bundle(
    model: CnnLstm,
    folder: Path,
    *,
    members: Sequence[CnnLstm] = (),
    title: str = "CNN-LSTM",
    ignores: tuple[Input, ...] = (),
    **said: Unpack[Particulars],
) -> Manifest:
    """Write the bundle of a trained network to `folder`, which must not exist, and return its manifest.

    `members` are networks on the same inputs, trained like it, whose spread is its uncertainty. `ignores`
    names the branch that is switched off: "window" of CNN-only, "patches" of LSTM-only. The bundle may warn
    when its rain test passed and rain matters, unless `withhold_warnings` says why not. What the paper leaves
    open is added to `training.assumed`.

    Raises BundleError when `folder` exists or the graphs are not the network; nothing is then left.
    InputError for members on other inputs, and for isotonic calibration.
    """
    _refuse_existing(folder)  # before the tracing, which takes seconds
    if _isotonic(said):
        raise InputError(
            f"{said['name']}: isotonic calibration has steps, which would magnify the rounding of the "
            "factored path's state; give Platt scaling, or export the network as one graph (export_whole)"
        )
    every = (model, *members)
    return _write_networks(every, [whole_graph(one) for one in every], folder, said, title, ignores)


def export_whole(
    whole: WholeGraph,
    folder: Path,
    *,
    members: Sequence[WholeGraph] = (),
    title: str,
    **said: Unpack[Particulars],
) -> Manifest:
    """Write the bundle of a model that is one graph; otherwise as `export_bundle`.

    It is served through the generic path: a patch and a window for each cell.
    """
    _refuse_existing(folder)
    for number, member in enumerate(members, start=1):
        if _ports(member) != _ports(whole):
            raise InputError(f"member {number} of {said['name']} was trained on other inputs than the model")
    if not whole.factors or not whole.variables:
        raise InputError(
            f"{said['name']} has no {'variables' if whole.factors else 'factors'}: a layer is made of cells "
            "with factors and windows, so a model that is to be served names both, and `ignores` says which "
            "of them it does not use"
        )
    return _write(
        folder,
        [{WHOLE: one.graph} for one in (whole, *members)],
        said,
        title=title,
        ignores=whole.ignores,
        factors=whole.factors,
        variables=whole.variables,
        window_days=whole.window_days,
        patch=whole.patch,
        assumed=(),
    )


def export_fitted(
    fitted: Fitted,
    folder: Path,
    *,
    members: Sequence[Fitted] = (),
    title: str,
    **said: Unpack[Particulars],
) -> Manifest:
    """Write the bundle of a fitted model: factored where it is a CnnLstm, otherwise as one graph.

    A CnnLstm under isotonic calibration is one graph too: the factored path keeps its state in bytes, and the
    steps of the calibration would make their rounding, 0.001 of susceptibility, a hundred times as much.
    """
    _refuse_existing(folder)
    network = network_of(fitted)
    if network is not None and _isotonic(said):
        _log.warning("isotonic calibration: served cell by cell, not factored", bundle=said["name"])
        network, training = None, said["training"]
        missing = [line for line in ASSUMED if line not in training.assumed]
        said["training"] = training.model_copy(update={"assumed": (*training.assumed, *missing)})
    if network is None:
        return export_whole(
            fitted.whole(), folder, members=[one.whole() for one in members], title=title, **said
        )
    networks = [network, *(found for one in members if (found := network_of(one)) is not None)]
    wholes = [one.whole() for one in (fitted, *members)]
    return _write_networks(networks, [one.graph for one in wholes], folder, said, title, wholes[0].ignores)


def network_of(fitted: Fitted) -> CnnLstm | None:
    """Return the CnnLstm that a fitted model is, None where it is something else."""
    network = getattr(fitted, "network", None)
    return network if isinstance(network, CnnLstm) else None


def _write_networks(
    networks: Sequence[CnnLstm],
    wholes: Sequence[onnx.ModelProto],
    folder: Path,
    said: Particulars,
    title: str,
    ignores: tuple[Input, ...],
) -> Manifest:
    """Write networks and what their tracing gave, the main one first."""
    if len(networks) != len(wholes):
        raise InputError(f"a member of {said['name']} is no CNN-LSTM, as the main model is")
    for number, member in enumerate(networks):
        if _shape(member) != _shape(networks[0]):
            raise InputError(f"member {number} of {said['name']} was trained on other inputs than the model")
    silent = tuple(word for branch in ignores for word in _OF_BRANCH[branch])
    k, inputs = said.get("forcing_cell", 32), networks[0].inputs
    graphs = [
        {
            "spatial.onnx": spatial_graph(model),
            "temporal.onnx": temporal_graph(model),
            "head.onnx": head_graph(model, k),
            "head_u8.onnx": head_u8_graph(model, k),
            WHOLE: whole,
        }
        for model, whole in zip(networks, wholes, strict=True)
    ]
    return _write(
        folder,
        graphs,
        said,
        title=title,
        ignores=ignores,
        factors=inputs.factors,
        variables=inputs.variables,
        window_days=inputs.window_days,
        patch=inputs.patch,
        assumed=[line for line in ASSUMED if not (silent and line.startswith(silent))],
    )


def _write(
    folder: Path,
    graphs: Sequence[Graphs],
    said: Particulars,
    *,
    title: str,
    ignores: tuple[Input, ...],
    factors: tuple[FactorSpec, ...],
    variables: tuple[VariableSpec, ...],
    window_days: int,
    patch: int,
    assumed: Sequence[str],
) -> Manifest:
    """Write the graphs of the main model and, after it, of the members, with manifest and model card."""
    created, training, rain_test = said["created"], said["training"], said["rain_test"]
    if created.tzinfo is None:
        raise ValueError(f"created must say its time zone, got {created}")
    missing = [line for line in assumed if line not in training.assumed]
    training = training.model_copy(update={"assumed": (*training.assumed, *missing)})
    may_warn, reason = _may_warn(rain_test, ignores, said.get("withhold_warnings"))
    calibration = said.get("calibration")
    calibrations = [calibration, *_of_members(said, len(graphs) - 1)]
    factored = FACTORED[0] in graphs[0]
    with replacing_folder(folder) as temporary:
        for number, (model, calibrated) in enumerate(zip(graphs, calibrations, strict=True)):
            for file_name, graph in model.items():
                path = temporary / (member_file(number, file_name) if number else file_name)
                path.parent.mkdir(parents=True, exist_ok=True)
                onnx.save(_calibrated(graph, calibrated), path, save_as_external_data=False)
        for file_name, content in sorted((said.get("report") or {}).items()):
            (temporary / "report").mkdir(exist_ok=True)
            (temporary / "report" / file_name).write_bytes(content)

        def manifest_of(files: dict[str, str]) -> Manifest:
            return Manifest(
                name=said["name"],
                version=said["version"],
                created=created,
                kind="factored" if factored else "whole",
                model=title,
                factors=factors,
                variables=variables,
                window_days=window_days,
                lag_days=said.get("lag_days", 1),
                patch=patch,
                forcing_cell=said.get("forcing_cell", 32),
                channels=DENSE_UNITS[0],
                ignores=ignores,
                calibration=calibration.words if calibration and calibration.method != "none" else None,
                members=len(graphs) - 1,
                odds=said.get("odds"),
                reference=said.get("reference"),
                classes=said["classes"],
                training=training,
                rain_test=rain_test,
                may_warn=may_warn,
                may_warn_reason=reason,
                files=files,
            )

        card = model_card(manifest_of(_checksums(temporary)), said.get("notes", ()))
        (temporary / "model-card.md").write_text(card, "utf-8")
        manifest = manifest_of(_checksums(temporary))
        write_json(temporary / MANIFEST_NAME, manifest.model_dump(mode="json"))
        proven = Bundle.load(temporary)
    _log.info("bundle exported", bundle=said["name"], version=said["version"], size_bytes=proven.size_bytes)
    return manifest


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise BundleError(f"{folder} exists; a finished bundle is never rewritten, give another folder")


def _isotonic(said: Particulars) -> bool:
    every = [said.get("calibration"), *(said.get("member_calibrations") or ())]
    return any(one is not None and one.method == "isotonic" for one in every)


def _of_members(said: Particulars, count: int) -> Sequence[Calibration | None]:
    given = said.get("member_calibrations") or [said.get("calibration")] * count
    if len(given) != count:
        raise InputError(
            f"{count} members, but {len(given)} calibrations for them; give each its own, or none"
        )
    return given


def _calibrated(graph: onnx.ModelProto, calibration: Calibration | None) -> onnx.ModelProto:
    gives = any(port.name == OUTPUT for port in graph.graph.output)
    # A graph that nothing is added to keeps its bytes.
    if calibration is None or calibration.method == "none" or not gives:
        return graph
    return calibration.append_to(graph)


def _may_warn(
    rain_test: RainTest | None, ignores: tuple[Input, ...], withheld: str | None
) -> tuple[bool, str]:
    reasons = [withheld] if withheld else []
    if "window" in ignores:
        reasons.append("the model does not respond to rain: it does not look at the window")
    elif rain_test is None:
        reasons.append("the rain test was not run")
    elif not rain_test.passed:
        drop = rain_test.largest_drop
        reasons.append(f"the rain test failed: heavier rain lowered the index by up to {drop:.3f}")
    elif not rain_test.responds:
        reasons.append(
            "the model does not respond to rain: from none to the heaviest its mean index rises by no more "
            f"than {SCALE:g}"
        )
    if reasons:
        return False, "; ".join(reasons)
    return True, "the rain test passed: heavier rain never lowers the index"


def _shape(model: CnnLstm) -> tuple[object, ...]:
    """Return what a member must share; the ranges of its own samples are inside its graphs."""
    inputs = model.inputs
    names = [tuple(spec.name for spec in specs) for specs in (inputs.factors, inputs.variables)]
    return *names, inputs.patch, inputs.window_days


def _ports(whole: WholeGraph) -> tuple[object, ...]:
    names = [tuple(spec.name for spec in specs) for specs in (whole.factors, whole.variables)]
    return *names, whole.patch, whole.window_days, whole.ignores


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
