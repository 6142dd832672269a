"""`colluvium bench`: every figure, of the refresh as it is run every day, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.bench import measure as measure_module
from service.bench.child import TASKS, Answer, Place, end, run_child
from service.bench.limits import LimitSizes
from service.bench.measure import PARTS, BenchRequest, measure
from service.bench.network import Size
from service.bench.refreshes import days_before
from service.bench.report import print_table, to_json
from service.bench.scene import ARID_DAY, NEWEST_DAY, SceneRequest, make_scene, square_side
from service.commands.bench import bench
from service.errors import FactorError, HeldError, UsageError
from service.settings import load_settings
from tests.fix_region import NOW, ToyRegion

SMALL = Size(factors=3, filters=(4, 6, 8), lstm=(8, 6), channels=16, hidden=8, k=8)
SCENE = SceneRequest(128, size=SMALL)
QUICK: Mapping[str, Any] = {
    "workers": 2,
    "days": 1,
    "sample": 64,
    "boosted_sample": 1024,
    "arid_days": 1,
    "at_least_s": 0.01,
    "limits": LimitSizes(matrix=64, copy_bytes=1 << 20, file_bytes=1 << 20),
}


def silent(_: int, __: int) -> None:
    """Draw nothing."""


def here(task: str, place: Place, request: Mapping[str, Any]) -> Answer:
    """Measure in this process; what is asked for and answered passes through JSON as between processes."""
    place = Place.of_json(json.loads(json.dumps(place.to_json())))
    answer = TASKS[task](place, json.loads(json.dumps(dict(request))))
    return dict(json.loads(json.dumps(answer, allow_nan=False)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "scene"


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    request = BenchRequest(folder, SCENE, **QUICK)
    return to_json(measure(request, NOW, silent, here))


def test_every_figure_of_the_report_is_there(report: dict[str, Any]) -> None:
    assert report["cells"] == (128 - 22) ** 2
    assert report["synthetic"] is True
    of_refresh = {name for name, stage in report["stages"].items() if stage["in_refresh"]}
    assert {"windows", "head", "areas"} <= of_refresh
    assert {"state", "temporal", "head_alone", "convolution", "cog"} <= set(report["stages"]) - of_refresh
    for name, stage in report["stages"].items():
        assert stage["cells_per_s"] > 0, name
        assert stage["seconds"] >= 0, name
        assert stage["what"], name
    # Every factor of every cell once, at the least.
    assert report["stages"]["convolution"]["bytes"] > 4 * SMALL.factors * report["cells"]
    assert report["end_to_end"]["cells_per_s"] > 0
    assert report["end_to_end"]["postgis_cells_per_s"] is None
    assert report["peak_rss_bytes"] > 1 << 20
    assert report["left_out"] == {}
    for name in ("matrix_flops", "copy_bytes_per_s", "disk_bytes_per_s"):
        assert report["limits"][name] > 0
    for name in ("temporal", "head", "convolution", "state", "end_to_end"):
        assert report["share_of_matrix_limit"][name] > 0


@pytest.mark.parametrize("name", ["naive", "dense", "xgboost", "arid"])
def test_each_ratio_is_of_what_was_measured(report: dict[str, Any], name: str) -> None:
    if name == "xgboost":
        pytest.importorskip("xgboost")
    assert math.isfinite(report["ratio"][name])
    assert report["ratio"][name] > 0
    assert report["yardsticks"][name]["cells_per_s"] > 0


def test_the_stages_add_up_to_the_refresh(report: dict[str, Any]) -> None:
    parts = [stage for stage in report["stages"].values() if stage["in_refresh"]]
    whole = report["end_to_end"]
    assert sum(stage["seconds"] for stage in parts) == pytest.approx(whole["seconds"])
    assert sum(stage["bytes_read"] for stage in parts) == whole["bytes_read"]


def test_the_state_is_read_once_in_a_refresh(report: dict[str, Any]) -> None:
    head = report["stages"]["head"]
    assert report["disk"]["state_bytes"] * 0.9 < head["bytes_read"] < 2 * report["disk"]["state_bytes"]


def test_an_arid_day_changes_few_windows_and_gives_the_same_files(report: dict[str, Any]) -> None:
    arid = report["yardsticks"]["arid"]
    assert 0 < arid["changed_share"] < 0.15  # in a region this small one gauge reaches far
    assert arid["identical"] is True


def test_the_report_is_json_and_a_table(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    print_table(report)
    shown = capsys.readouterr().out
    for words in ("SYNTHETIC", "ONNX Runtime", "END TO END", "times naive", "limits:", "identical to"):
        assert words in shown


def test_a_folder_is_found_again_and_its_state_is_not_built_twice(
    report: dict[str, Any], folder: Path
) -> None:
    built = sorted((folder / "data" / "state").rglob("state.bin"))
    before = [path.stat().st_mtime_ns for path in built]
    request = BenchRequest(folder, SCENE, parts=frozenset(), **QUICK)
    again = to_json(measure(request, NOW, silent, here))
    assert [path.stat().st_mtime_ns for path in built] == before
    assert again["cells"] == report["cells"]
    assert again["stages"]["state"]["seconds"] == report["stages"]["state"]["seconds"]
    assert set(again["left_out"]) == set(PARTS)
    assert again["ratio"] == {"naive": None, "dense": None, "xgboost": None, "arid": None}


def test_a_folder_of_another_scene_or_of_anything_else_is_refused(
    report: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="another synthetic region"):
        make_scene(folder, SceneRequest(256, size=SMALL), silent)
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(UsageError, match="is not empty"):
        make_scene(tmp_path, SCENE, silent)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_region_inside_an_outline_is_measured_where_the_outline_is(tmp_path: Path) -> None:
    ring = [[57.0, 30.0], [57.05, 30.0], [57.0, 30.05], [57.0, 30.0]]
    outline = tmp_path / "outline.geojson"
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    outline.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), "utf-8")
    scene = make_scene(tmp_path / "work", SceneRequest(0, 30.0, outline, size=SMALL), silent)
    there = here("open", Place(scene.config, None, 1, NOW), {})["region"]
    # Half of a box of 4.8 x 5.5 km, less a patch's width along its edges.
    assert 5_000 < there["valid_cells"] < 0.5 * there["grid_cells"]
    assert load_settings(scene.config).grid.crs == "EPSG:32640"
    pairs = [[str(ARID_DAY - timedelta(days=1)), str(ARID_DAY)]]
    (changed,) = here("changed", Place(scene.arid_config, None, 1, NOW), {"pairs": pairs})["changed"]
    assert 0 < changed < 0.5  # the corner where it rains lies inside, and a gauge reaches far here


def digest_of_folder(folder: Path) -> dict[str, str]:
    """What every file below a folder holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_given_region_stays_as_it_is(toy: ToyRegion, tmp_path: Path) -> None:
    toy.refresh(date(2026, 3, 5))
    before = digest_of_folder(toy.folder)
    request = BenchRequest(tmp_path / "work", None, toy.config, **QUICK | {"days": 2})
    found = to_json(measure(request, NOW, silent, here))
    assert digest_of_folder(toy.folder) == before
    assert found["region"]["name"] == "Toy valley"
    assert len(found["days"]) == 2
    assert found["left_out"] == {"arid": "the weather of a given region is what it is"}
    assert found["ratio"]["naive"] > 0


def test_a_region_is_never_measured_inside_its_own_data_folder(toy: ToyRegion) -> None:
    for work in (toy.data, toy.data / "bench"):
        with pytest.raises(UsageError, match="data folder"):
            measure(BenchRequest(work, None, toy.config, **QUICK), NOW, silent, here)


def test_a_region_without_readings_says_so(toy: ToyRegion, tmp_path: Path) -> None:
    (toy.data / "readings.sqlite").unlink()
    with pytest.raises(HeldError, match="no readings"):
        measure(BenchRequest(tmp_path / "work", None, toy.config, **QUICK), NOW, silent, here)


def test_every_measured_day_is_compared_with_days_that_have_a_layer() -> None:
    measured = [NEWEST_DAY - timedelta(days=back) for back in (1, 0)]
    every = {*days_before(measured), *measured}
    for day in measured:
        assert {day - timedelta(days=1), day - timedelta(days=7)} <= every


def test_another_process_measures_and_its_errors_are_ours(toy: ToyRegion) -> None:
    place = Place(toy.config, None, 1, NOW)
    sizes = {"matrix": 64, "copy_bytes": 1 << 20, "file_bytes": 1 << 20}
    assert run_child("limits", place, {"sizes": sizes})["matrix_flops"] > 0
    (toy.folder / "factors.tif").unlink()
    with pytest.raises(FactorError, match="no factor stack"):
        run_child("open", place, {})


def test_a_child_that_is_interrupted_puts_away_what_it_made(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        "try:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    pathlib.Path(sys.argv[1]).touch()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "away")], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        end(process, within_s=1)
        assert process.poll() is not None
    assert (tmp_path / "away").exists()


def test_the_report_names_the_engine_of_the_settings(toy: ToyRegion) -> None:
    with toy.config.open("a") as file:
        file.write('\n[engine]\nkind = "dask"\n')
    place = Place(toy.config, None, 1, NOW)
    request = BenchRequest(toy.folder, None, toy.config)
    assert measure_module._machine(request, place)["engine"] == "dask"


def test_the_command_prints_one_json_object_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: dict[str, Any]
) -> None:
    asked: list[BenchRequest] = []

    def told(request: BenchRequest, *_: object) -> Any:
        asked.append(request)
        (request.folder / "file").write_text("left")
        raise HeldError("stop here")

    monkeypatch.setattr(measure_module, "measure", told)
    arguments = ["--cells", "10000", "--only", "naive", "--workers", "1", "--days", "2", "--json"]
    done = CliRunner().invoke(bench, arguments)
    assert isinstance(done.exception, HeldError)
    (request,) = asked
    assert request.scene == SceneRequest(96)
    assert request.parts == {"naive"}
    assert (request.workers, request.days) == (1, 2)
    assert not request.folder.exists()

    kept = tmp_path / "bench.json"
    kept.write_text(json.dumps(report), "utf-8")
    done = CliRunner().invoke(bench, ["--extrapolate", str(kept), "--json"])
    assert done.exit_code == 0, done.output
    marks = {row["marked"] for row in json.loads(done.stdout)["estimates"]}
    assert marks == {"measured", "extrapolated"}
    shown = CliRunner().invoke(bench, ["--extrapolate", str(kept)]).stdout
    assert "Kerman" in shown
    assert "(extrapolated)" in shown


def test_a_given_region_takes_no_outline(toy: ToyRegion) -> None:
    done = CliRunner().invoke(bench, ["-c", str(toy.config), "--outline", "x.geojson"])
    assert isinstance(done.exception, UsageError)


def test_a_password_in_the_dsn_is_refused() -> None:
    done = CliRunner().invoke(bench, ["--postgis", "host=db password=hush"])
    assert isinstance(done.exception, UsageError)
    assert "passfile" in str(done.exception)
    assert "hush" not in str(done.exception)


def test_a_square_holds_whole_forcing_cells() -> None:
    assert square_side(4096**2, None) == 4096
    assert square_side(1_000_000, None) == 992
