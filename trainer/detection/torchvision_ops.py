"""segmentation-models-pytorch without torchvision's compiled operators.

It imports timm, and timm torchvision, which describes two operators (nms, qnms) to torch's tracer as it is
imported. Where its compiled part does not load (another torch build, no build for the processor), that fails:
"operator torchvision::nms does not exist". Neither operator is used by any model here, so they are declared,
without a body: calling one still raises.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

import torch
from torch import library

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def segmentation_models() -> ModuleType:
    """Return the module segmentation_models_pytorch, importable with or without torchvision's operators.

    Raises ModuleNotFoundError where the extra `detection` is not installed.
    """
    _declare_missing()
    import segmentation_models_pytorch

    module: ModuleType = segmentation_models_pytorch
    return module


def _declare_missing() -> None:
    """Declare nms and qnms where nothing else does; where torchvision works it is left alone."""
    if _declared("nms") or _compiled_part_loads():
        return
    for name in ("nms", "qnms"):
        if not _declared(name):
            library.define(f"torchvision::{name}", _SCHEMA)


def _declared(name: str) -> bool:
    return bool(torch._C._dispatch_has_kernel(f"torchvision::{name}")) or _has_schema(name)


def _has_schema(name: str) -> bool:
    return bool(torch._C._jit_get_schemas_for_operator(f"torchvision::{name}"))


def _compiled_part_loads() -> bool:
    """Load torchvision's operators as its own import does; tell whether they are there then."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for compiled in sorted(Path(spec.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
        except (ImportError, OSError):
            continue
        return _declared("nms")
    return False
