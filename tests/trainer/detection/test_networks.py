"""Thirteen models for any number of bands, and encoders that begin with weights from a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from service.errors import InputError, UsageError
from trainer.detection.networks import BY_NAME, MODELS, build, count_weights, spec_of
from trainer.detection.plain_unet import PlainUnet
from trainer.detection.pretrained import averaged, put_in, words_of
from trainer.detection.torchvision_ops import segmentation_models


def test_the_paper_s_table_stands_there_whole_and_in_its_order() -> None:
    assert len(MODELS) == len(BY_NAME) == 13
    assert [spec.f1 for spec in MODELS] == sorted((spec.f1 for spec in MODELS), reverse=True)
    best = spec_of("resnet34")
    assert (best.f1, best.precision, best.recall) == (0.7470, 0.7737, 0.7267)


def test_an_unknown_model_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(UsageError, match=r"resnet34, vgg16.*mit_b1"):
        build("resnet9000", 14)


@pytest.mark.parametrize("base", [2, 8])
def test_the_plain_unet_gives_a_logit_for_every_pixel(base: int) -> None:
    network = build("unet", 5, base=base)
    assert network(torch.zeros(2, 5, 32, 48)).shape == (2, 1, 32, 48)


def test_the_plain_unet_as_published_has_31_million_weights() -> None:
    with torch.device("meta"):
        assert count_weights(PlainUnet(3)) == pytest.approx(31.04e6, rel=0.001)


def test_a_pixel_sees_its_surroundings_across_all_levels() -> None:
    network = build("unet", 1, base=4).eval()
    given = (10 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    network(given)[0, 0, 32, 32].backward()
    assert given.grad is not None
    rows = torch.nonzero(given.grad[0, 0].abs().sum(dim=1)).flatten()
    assert int(rows.max() - rows.min()) > 40


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (build("unet", 3, base=2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["down.0.0.weight"], other["down.0.0.weight"])


def encoder(channels: int) -> nn.Module:
    network: nn.Module = build("mobilenet_v2", channels).encoder  # type: ignore[assignment]
    return network


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_reach_the_encoder_and_every_band(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"mobilenet_v2{suffix}"
    given = {name: value.contiguous() for name, value in encoder(3).state_dict().items()}
    given["classifier.1.weight"] = torch.zeros(1000, 1280)  # of ImageNet's classes
    for name in given:
        if given[name].is_floating_point():
            given[name] = given[name] + 0.5
    if suffix == ".pth":
        torch.save(given, file)
    else:
        save_file(given, file)
    found = build("mobilenet_v2", 14, file).encoder.state_dict()  # type: ignore[operator, union-attr]
    first = "features.0.0.weight"
    assert found[first].shape[1] == 14
    assert torch.allclose(found[first], averaged(given[first], 14))
    others = [name for name in found if name != first]
    assert all(torch.equal(found[name], given[name]) for name in others)
    assert file.name in words_of(file)
    assert "3 / number of bands" in words_of(file)


@pytest.mark.parametrize("channels", [1, 4, 14])
def test_averaged_filters_answer_alike_bands_as_they_answered_grey(channels: int) -> None:
    random = torch.Generator().manual_seed(0)
    filters = torch.randn(8, 3, 3, 3, generator=random)
    grey = torch.randn(1, 1, 9, 9, generator=random)
    wanted = nn.functional.conv2d(grey.repeat(1, 3, 1, 1), filters)
    found = nn.functional.conv2d(grey.repeat(1, channels, 1, 1), averaged(filters, channels))
    assert torch.allclose(found, wanted, atol=1e-5)


def test_three_bands_keep_the_file_s_own_filters(tmp_path: Path) -> None:
    file, given = tmp_path / "w.safetensors", encoder(3).state_dict()
    save_file({name: value.contiguous() + 1 for name, value in given.items()}, file)
    target = encoder(3)
    put_in(target, file, 3)
    assert torch.equal(target.state_dict()["features.0.0.weight"], given["features.0.0.weight"] + 1)


def test_weights_of_another_encoder_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"layer1.weight": torch.zeros(3, 3)}, file)
    with pytest.raises(InputError, match=r"not this encoder's: it lacks features.*has layer1\.weight"):
        build("mobilenet_v2", 14, file)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    file, given = tmp_path / "w.safetensors", dict(encoder(3).state_dict())
    given["features.1.conv.0.0.weight"] = torch.zeros(2, 1, 3, 3)
    save_file({name: value.contiguous() for name, value in given.items()}, file)
    with pytest.raises(InputError, match=r"features\.1\.conv\.0\.0\.weight has the shape \(2, 1, 3, 3\)"):
        build("mobilenet_v2", 14, file)


class Dangerous:
    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Path, ("never",)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bad.pth"
    torch.save({"features.0.0.weight": Dangerous()}, file)
    with pytest.raises(InputError, match="cannot be read as weights"):
        build("mobilenet_v2", 14, file)


def test_the_plain_unet_takes_no_encoder_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no encoder"):
        build("unet", 14, tmp_path / "any.pth")


def test_only_the_plain_unet_has_a_width_to_choose() -> None:
    with pytest.raises(UsageError, match="plain U-Net"):
        build("resnet34", 14, base=8)


_NO_NETWORK = """
import socket, torch
def refused(*args, **kwargs):
    raise AssertionError("something tried to reach the network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refused
from trainer.detection.networks import build
build("mobilenet_v2", 14)
print("built")
"""


def test_nothing_is_fetched_to_build_a_model() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NO_NETWORK], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["built"]


def test_a_declared_operator_that_nobody_wrote_still_raises() -> None:
    segmentation_models()
    with pytest.raises(RuntimeError, match="qnms"):
        torch.ops.torchvision.qnms(torch.zeros(1, 4), torch.zeros(1), 0.5)
