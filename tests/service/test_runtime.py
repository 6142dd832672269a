from __future__ import annotations

import pytest

from service.errors import BundleError, UsageError
from service.runtime import make_session, onnx_runtime


def test_without_onnx_runtime_the_command_to_install_it_is_named() -> None:
    with pytest.raises(UsageError, match=r"pip install \"colluvium\[cpu\]\".*colluvium\[gpu\]"):
        onnx_runtime(installed=set().__contains__)


def test_with_both_distributions_the_one_to_remove_is_named() -> None:
    with pytest.raises(UsageError, match=r"pip uninstall onnxruntime-gpu.*pip uninstall onnxruntime'"):
        onnx_runtime(installed={"onnxruntime", "onnxruntime-gpu"}.__contains__)


@pytest.mark.parametrize("only", ["onnxruntime", "onnxruntime-gpu"])
def test_with_one_distribution_the_module_is_given(only: str) -> None:
    assert hasattr(onnx_runtime(installed={only}.__contains__), "InferenceSession")


def test_what_is_not_a_graph_is_refused_by_name() -> None:
    with pytest.raises(BundleError, match=r"head\.onnx cannot be run"):
        make_session(b"not a graph", "head.onnx")
