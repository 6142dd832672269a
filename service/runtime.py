"""ONNX Runtime: which of its two distributions is installed, and sessions made of bytes.

Everything in `service` reaches onnxruntime through this module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from service.errors import BundleError, UsageError

_CPU, _GPU = "onnxruntime", "onnxruntime-gpu"


def onnx_runtime(installed: Callable[[str], bool] | None = None) -> Any:
    """Return the onnxruntime module.

    Raises UsageError when no distribution of it is installed, or both: they ship the same module, and
    whichever was unpacked last would run. `installed` tells whether a distribution is there.
    """
    present = installed or _is_installed
    if present(_CPU) and present(_GPU):
        raise UsageError(
            f"{_CPU} and {_GPU} are both installed and overwrite each other's files. Either use the "
            f"processor: 'pip uninstall {_GPU}', then 'pip install --force-reinstall {_CPU}'; or a graphics "
            f"card: 'pip uninstall {_CPU}', then 'pip install --force-reinstall {_GPU}'"
        )
    if not present(_CPU) and not present(_GPU):
        raise UsageError(
            "ONNX Runtime is not installed. Either run 'pip install \"colluvium[cpu]\"', "
            "or 'pip install \"colluvium[gpu]\"' on a machine with an NVIDIA graphics card; never both"
        )
    return importlib.import_module("onnxruntime")


def make_session(graph: bytes, name: str, *, threads: int = 1, providers: Sequence[str] = ()) -> Any:
    """Return an inference session of a serialised ONNX graph; `name` is what errors call it.

    Sessions may be run from several threads at once. Raises BundleError when ONNX Runtime refuses the graph.
    """
    runtime = onnx_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors are raised; warnings about graphs are no news to an operator
    try:
        return runtime.InferenceSession(
            graph, sess_options=options, providers=list(providers) or ["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises a dozen classes without a common base
        raise BundleError(f"{name} cannot be run by ONNX Runtime: {error}") from error


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
