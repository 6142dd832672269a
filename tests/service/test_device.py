"""Which device computes: a graphics card counts only once it has computed something."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from service.bundle import Bundle
from service.check import run_checks
from service.doctor import examine
from service.errors import EXIT_CODES, DeviceError, Outcome
from service.figures import read_figures
from service.proof import Comparison
from service.runtime import CPU_PROVIDER, GPU_PROVIDER, Asked, Device, chosen_device, make_session
from service.status import read_status
from tests.fix_region import LAST_DAY, ToyRegion

ROOT = Path(__file__).parents[2]
FELL_BACK = Device("cpu", CPU_PROVIDER, "no graphics card can be used: it is unplugged", fell_back=True)

Compute = Callable[[Any], Any]


def runtime(*, available: Sequence[str], gets: Sequence[str] = (), compute: Compute = lambda x: x + x) -> Any:
    """Stand in for the onnxruntime module: what it names, what its sessions get, what they compute."""

    class Session:
        def __init__(self, graph: bytes, **how: Any) -> None:
            assert how["enable_fallback"] == 0
            assert how["providers"][0][0] == GPU_PROVIDER
            self.get_providers = lambda: list(gets)

        def run(self, _: None, values: dict[str, Any]) -> list[Any]:
            return [compute(values["x"])]

    return SimpleNamespace(
        __file__="/nowhere/__init__.py",
        InferenceSession=Session,
        SessionOptions=SimpleNamespace,
        get_available_providers=lambda: list(available),
        set_default_logger_severity=lambda _: None,
    )


def failing(_: Any) -> Any:
    raise RuntimeError("CUDA failure 35: driver version is\n insufficient")


CARD = [GPU_PROVIDER, CPU_PROVIDER]
TROUBLES = {
    "the distribution for processors": (
        runtime(available=[CPU_PROVIDER]),
        "the one for processors (another is onnxruntime-gpu)",
    ),
    "a provider that is named and goes over to the processor": (
        runtime(available=CARD, gets=[CPU_PROVIDER]),
        "onnxruntime-gpu cannot load its CUDA part",
    ),
    "a driver that is too old": (
        runtime(available=CARD, gets=CARD, compute=failing),
        "CUDA failure 35: driver version is insufficient",
    ),
    "a card that computes nonsense": (
        runtime(available=CARD, gets=CARD, compute=lambda x: x),
        "computed a wrong sum",
    ),
}


@pytest.mark.parametrize("asked", ["auto", "gpu"])
def test_a_card_that_computed_the_trial_is_used(asked: Asked) -> None:
    device = chosen_device(asked, runtime(available=CARD, gets=CARD))

    assert (device.name, device.provider, device.fell_back) == ("gpu", GPU_PROVIDER, False)


@pytest.mark.parametrize(("module", "reason"), TROUBLES.values(), ids=TROUBLES)
def test_auto_falls_back_to_the_processor_and_says_why(module: Any, reason: str) -> None:
    device = chosen_device("auto", module)

    assert (device.name, device.provider) == ("cpu", CPU_PROVIDER)
    assert reason in device.reason


@pytest.mark.parametrize(("module", "reason"), TROUBLES.values(), ids=TROUBLES)
def test_gpu_without_a_card_is_refused_with_the_reason_and_the_way_out(module: Any, reason: str) -> None:
    with pytest.raises(DeviceError) as refused:
        chosen_device("gpu", module)

    assert reason in str(refused.value)
    assert 'inference.device = "auto"' in str(refused.value)


def test_falling_back_is_news_only_where_the_distribution_for_cards_is_installed() -> None:
    assert not chosen_device("auto", runtime(available=[CPU_PROVIDER])).fell_back
    assert chosen_device("auto", runtime(available=CARD, gets=[CPU_PROVIDER])).fell_back


def test_cpu_does_not_even_try_a_card() -> None:
    assert chosen_device("cpu", SimpleNamespace()).provider == CPU_PROVIDER


def test_a_session_that_does_not_get_its_card_is_an_error_and_no_slow_map(toy: ToyRegion) -> None:
    graph = (toy.settings.bundle.path / "head.onnx").read_bytes()

    with pytest.raises(DeviceError, match=r"head\.onnx"):
        make_session(graph, "head.onnx", device=Device("gpu", GPU_PROVIDER, "it was there this morning"))


def test_a_bundle_says_what_its_sessions_run_on(toy: ToyRegion) -> None:
    providers = Bundle.load(toy.settings.bundle.path, prove=False).providers

    assert set(providers) == {f"{name}.onnx" for name in ("spatial", "temporal", "head", "head_u8", "whole")}
    assert set(providers.values()) == {(CPU_PROVIDER,)}


def test_a_card_that_fails_at_work_is_told_from_a_bundle_that_is_wrong(toy: ToyRegion) -> None:
    card = Device("gpu", GPU_PROVIDER, "it was there this morning")
    loaded = Bundle.load(toy.settings.bundle.path, prove=False)
    session = SimpleNamespace(run=lambda *_: failing(None))
    broken = Bundle(loaded.manifest, loaded.folder, loaded.digest, 1, 0, card, {"temporal.onnx": session})

    with pytest.raises(DeviceError, match="the graphics card failed"):
        broken.temporal(np.zeros((1, loaded.manifest.window_days, 1), np.float32))


def test_a_bundle_that_fails_its_proof_on_a_card_is_laid_to_the_card_and_not_refused(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = Device("gpu", CPU_PROVIDER, "a processor that stands in for a card")
    monkeypatch.setattr("service.bundle.compare", lambda *_, **__: Comparison(64, 0.01, 0.01, 1.0))

    with pytest.raises(DeviceError, match=r"on the graphics card .* by 0\.01 .*colluvium bundle verify"):
        Bundle.load(toy.settings.bundle.path, device=stand_in)


def test_with_gpu_and_no_card_the_daemon_refuses_to_start(toy: ToyRegion) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", "run", "-c", str(toy.config)],
        cwd=ROOT, env={"PATH": "", "COLLUVIUM_INFERENCE__DEVICE": "gpu", "COLLUVIUM_HTTP__PORT": "0"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == EXIT_CODES[Outcome.FAILED]
    assert 'inference.device = "gpu", and no graphics card can be used' in done.stderr


def test_with_gpu_and_no_card_a_refresh_fails_on_record_and_makes_no_map(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLUVIUM_INFERENCE__DEVICE", "gpu")

    (result,) = toy.refresh()

    assert result.outcome == Outcome.FAILED
    with toy.ledger() as ledger:
        assert ledger.runs(1)[0].label == "device"
        assert ledger.latest() is None


def test_falling_back_is_said_in_log_metric_status_check_and_doctor(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("workshop", "figures", "status", "check", "doctor"):
        monkeypatch.setattr(f"service.{module}.chosen_device", lambda _: FELL_BACK)

    with capture_logs() as lines:
        toy.refresh(LAST_DAY)

    (line,) = [line for line in lines if line["event"] == "inference"]
    assert (line["log_level"], line["device"], line["reason"]) == ("warning", "cpu", FELL_BACK.reason)
    figures = read_figures(toy.settings, toy.clock)
    assert (figures.device, figures.provider) == ("cpu", CPU_PROVIDER)
    assert "it is unplugged" in read_status(toy.settings, toy.clock()).to_text()
    settings, now = toy.settings, toy.clock()
    for checks, name in (
        (run_checks(settings, lambda *_: None), "runtime"),
        (examine(settings, now, lambda *_: None, offline=True), "device"),
    ):
        (check,) = [check for check in checks if check.name == name]
        assert check.state == "warn"
        assert "it is unplugged" in check.message
