"""Input that is wrong: commands say what, or the score comes with a warning; never a silent good score."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from click.testing import CliRunner, Result

import trainer.compare_region as compare_region
from service.cli import main_group
from service.errors import FactorError, InputError, SettingsError, UsageError
from trainer.synthetic.region import SyntheticRegion, make_region, write_region
from trainer.synthetic.slopes import draw_landslides

CONFIG = Path(__file__).resolve().parents[2] / "config" / "demo.toml"
PROTOCOL = """
name = "small"
title = "A small protocol"
calibration = "none"
[sampling]
ratio = 1.0
shares = { spatial = 0.5, both = 0.5 }
storm_days = 0
[split]
SPLIT
[judging]
resamples = 100
[models.decision_tree]
"""
RANDOM = 'kind = "stratified"\nplace_distance_m = 60.0'
Row = list[str]
FloatArray = npt.NDArray[np.floating]


class Region:
    """A small made-up region on disk, and its commands as a person types them."""

    def __init__(self, made: SyntheticRegion, folder: Path) -> None:
        self.made, self.folder, self.source = made, folder, folder / "data" / "source"
        write_region(made, self.source, since=date(2019, 8, 1), landslides=True)
        text = CONFIG.read_text("utf-8").replace("../build/demo", str(folder / "data"))
        # Without [training.synthetic] the region is what lies on disk, as a real one is.
        self.text = text[: text.index("[training.synthetic]")].replace("2016-10-01", "2019-10-01")

    def run(self, out: Path, command: str, *options: str, split: str = RANDOM, text: str = "") -> Result:
        config, protocol = out / "region.toml", out / "small.toml"
        config.write_text(text or self.text, "utf-8")
        protocol.write_text(PROTOCOL.replace("SPLIT", split), "utf-8")
        own = ["--protocol", str(protocol), "--out", str(out / "compared"), "--jobs", "1"]
        asked = [command, "-c", str(config), *(own if command == "compare" else ()), *options]
        return CliRunner().invoke(main_group, asked)

    def with_inventory(self, name: str, change: Callable[[Row], Row], keep: int = 1000) -> str:
        """Return settings whose inventory has each row changed, `keep` rows at most."""
        with (self.source / "landslides.csv").open(encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        with (self.source / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([head, *map(change, rows[-keep:])])
        return self.text.replace("landslides.csv", name)

    def with_factor(self, name: str, values: FloatArray) -> str:
        """Return settings with one more factor, NaN where it has no data."""
        path = self.source / f"{name}.tif"
        with rasterio.open(self.source / "annual_precipitation.tif") as pattern:
            profile = {**pattern.profile, "dtype": "float32", "nodata": -9999.0}
        with rasterio.open(path, "w", **profile) as out:
            out.write(np.nan_to_num(values, nan=-9999.0).astype(np.float32), 1)
        table = f'[[factors.rasters]]\nname = "{name}"\npath = "{path}"\nunit = "mm"\ndate = 2016-01-01\n\n'
        return self.text.replace("[factors.ndvi]", f"{table}[factors.ndvi]")


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    made = make_region(2, 192)
    # A smaller region has fewer landslides; cached_property takes what stands in the instance.
    made.__dict__["landslides"] = draw_landslides(made.slopes, made.weather, 2, events=120)
    with pytest.MonkeyPatch.context() as patch:
        # The maps are not what is tested here.
        patch.setattr(compare_region, "_ALONG", 12)
        patch.setattr(compare_region, "_CELLS", 200)
        yield Region(made, tmp_path_factory.mktemp("region"))


def test_an_inventory_with_exchanged_coordinates_is_refused_with_what_it_looks_like(
    region: Region, tmp_path: Path
) -> None:
    text = region.with_inventory("exchanged.csv", lambda row: [row[0], row[2], row[1], *row[3:]])

    for command in ("samples", "compare"):
        ran = region.run(tmp_path, command, text=text)

        assert isinstance(ran.exception, InputError)
        assert "exchanged.csv" in str(ran.exception)
        assert "exchange x_column and y_column" in str(ran.exception)
        assert ran.stdout == ""


def test_an_inventory_in_metres_that_says_degrees_is_refused(region: Region, tmp_path: Path) -> None:
    text = region.with_inventory("metres.csv", lambda row: [row[0], "501000", "3275000", *row[3:]])

    ran = region.run(tmp_path, "samples", text=text)

    assert isinstance(ran.exception, InputError)
    assert "look like metres" in str(ran.exception)


def test_rows_without_a_date_are_named_by_their_lines(region: Region, tmp_path: Path) -> None:
    undated = {"SYN-00003", "SYN-00007"}
    text = region.with_inventory(
        "undated.csv", lambda row: [*row[:3], "" if row[0] in undated else row[3], *row[4:]]
    )

    ran = region.run(tmp_path, "samples", "--json", text=text)

    assert ran.exit_code == 0, ran.output
    left_out = json.loads(ran.stdout)["left_out"]
    assert [words.split(":")[0] for words in left_out] == ["line 4", "line 8"]
    assert all("date is empty" in words for words in left_out)


def test_an_inventory_without_any_date_says_which_key_names_them(region: Region, tmp_path: Path) -> None:
    text = region.with_inventory("dateless.csv", lambda row: [*row[:3], "", *row[4:]])

    ran = region.run(tmp_path, "compare", text=text)

    assert isinstance(ran.exception, InputError)
    assert "day_column" in str(ran.exception)


def test_landslides_alone_are_refused_with_what_could_not_be_found(region: Region, tmp_path: Path) -> None:
    few = region.with_inventory("some.csv", lambda row: row, keep=30)
    text = few.replace("minimum_distance_m = 60.0", "minimum_distance_m = 60000.0")

    ran = region.run(tmp_path, "compare", text=text)

    assert isinstance(ran.exception, InputError)
    assert "samples are landslides" in str(ran.exception)
    assert "spatial" in str(ran.exception)
    assert not (tmp_path / "compared" / "comparison.json").exists()

    none = "spatial = 0\nrandom = 0\nseason = 0\nwet = 0"
    alone = region.text.replace("spatial = 2\nrandom = 1\nseason = 1\nwet = 1", none)
    bundle = tmp_path / "bundle"
    ran = region.run(
        tmp_path, "train", "--out", str(bundle), "--model", "decision_tree",
        text=alone.replace("both = 1 #", "both = 0 #"),
    )  # fmt: skip
    assert isinstance(ran.exception, InputError)
    assert "train part holds" in str(ran.exception)
    assert not bundle.exists()


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ('kind = "years"\nfolds = 20', "years are too few for 20 folds"),
        (RANDOM, "both labels are needed"),
    ],
)
def test_fewer_samples_than_folds_are_refused(region: Region, tmp_path: Path, split: str, words: str) -> None:
    ran = region.run(
        tmp_path, "compare", split=split, text=region.with_inventory("few.csv", lambda row: row, keep=4)
    )

    assert isinstance(ran.exception, InputError)
    assert words in str(ran.exception)


def test_a_constant_factor_is_named(region: Region, tmp_path: Path) -> None:
    text = region.with_factor("flat_rain", np.full((192, 192), 5.0))

    ran = region.run(tmp_path, "compare", text=text)

    assert isinstance(ran.exception, InputError)
    assert "factor 'flat_rain' of the training patches is 5 everywhere" in str(ran.exception)


def test_a_factor_without_data_is_named(region: Region, tmp_path: Path) -> None:
    text = region.with_factor("void", np.full((192, 192), np.nan))

    ran = region.run(tmp_path, "compare", text=text)

    assert isinstance(ran.exception, FactorError)
    assert str(ran.exception).startswith("void: ")
    assert "covers 0.0%" in str(ran.exception)


def test_landslides_where_a_factor_has_no_data_are_counted(region: Region, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (192, 192))
    values[:, 120:] = np.nan

    ran = region.run(tmp_path, "compare", text=region.with_factor("half", values))

    assert ran.exit_code == 0, repr(ran.exception)
    warnings = json.loads((tmp_path / "compared" / "comparison.json").read_text("utf-8"))["data"]["warnings"]
    assert any("had no complete patch and are left out" in words for words in warnings)
    assert "had no complete patch and are left out" in ran.stdout
    assert "had no complete patch" in (tmp_path / "compared" / "report.html").read_text("utf-8")


def test_labels_in_a_factor_are_said_beside_the_score(region: Region, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 0.01, (192, 192))
    for landslide in region.made.landslides[0]:
        values[landslide.row, landslide.column] += 1
    text = region.with_factor("scars", values)

    ran = region.run(tmp_path, "compare", text=text)

    assert ran.exit_code == 0, repr(ran.exception)
    leaks = json.loads((tmp_path / "compared" / "comparison.json").read_text("utf-8"))["leaks"]
    assert any(
        leak["severity"] == "error" and leak["finding"].startswith("scars alone separates") for leak in leaks
    )
    assert "error: label in a factor: scars" in ran.stdout
    page = (tmp_path / "compared" / "report.html").read_text("utf-8")
    assert "Do not trust at face value. Leak check: label in a factor" in page

    bundle = tmp_path / "bundle"
    asked = ("--out", str(bundle), "--model", "decision_tree", "--json")
    ran = region.run(tmp_path, "train", *asked, text=text)
    assert ran.exit_code == 0, repr(ran.exception)
    json.loads(ran.stdout)
    assert "scars alone separates" in ran.stderr
    assert "scars alone separates" in (bundle / "model-card.md").read_text("utf-8")


def test_wrong_words_on_the_command_line_are_said_before_any_work(region: Region, tmp_path: Path) -> None:
    ran = region.run(tmp_path, "compare", "--models", "forest")
    assert isinstance(ran.exception, SettingsError)
    assert "it has: decision_tree" in str(ran.exception)

    ran = region.run(tmp_path, "train", "--out", str(tmp_path / "bundle"), "--model", "forest")
    assert isinstance(ran.exception, SettingsError)
    assert "random_forest" in str(ran.exception)

    for seeds in ("-1", "1,1", "one"):
        ran = region.run(tmp_path, "compare", "--synthetic-seeds", seeds)
        assert isinstance(ran.exception, UsageError), seeds


def test_a_folder_that_is_no_bundle_is_never_replaced(region: Region, tmp_path: Path) -> None:
    own = tmp_path / "thesis"
    own.mkdir()
    (own / "chapter.txt").write_text("years of work", "utf-8")

    ran = region.run(tmp_path, "train", "--out", str(own), "--overwrite")

    assert isinstance(ran.exception, UsageError)
    assert (own / "chapter.txt").exists()
