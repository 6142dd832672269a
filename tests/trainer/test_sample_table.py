from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pyogrio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from service.errors import InputError, UsageError
from trainer.sample_table import read_samples, square_samples, write_samples
from trainer.samples import Kind, Sample
from trainer.squares import Square

UTM40 = CRS.from_epsg(32640)
SAMPLES = (
    Sample(500_000.1, 3_270_000.0, "event-a", date(2020, 2, 3), 1, Kind.EVENT, "storm-2020-02-01", 30.0, "a"),
    Sample(1 / 3, -0.0, "spatial-a-0", date(1999, 12, 31), 0, Kind.SPATIAL, None, 0.0, "a"),
)

finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)


@st.composite
def samples(draw: Callable[..., object]) -> Sample:
    kind = draw(st.sampled_from(list(Kind)))
    assert isinstance(kind, Kind)
    return Sample(
        draw(finite), draw(finite), draw(words), draw(st.dates()), int(kind is Kind.EVENT), kind,  # type: ignore[arg-type]
        draw(st.none() | words), abs(draw(finite)), draw(words),  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".gpkg"])
@settings(max_examples=30, deadline=None)
@given(table=st.lists(samples(), min_size=1, max_size=5), epsg=st.sampled_from([32640, 32633, 4326, 3035]))
def test_what_is_written_comes_back_to_the_last_bit(suffix: str, table: list[Sample], epsg: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"samples{suffix}"
        write_samples(path, table, CRS.from_epsg(epsg))
        found = read_samples(path)
    assert list(found.samples) == table
    assert found.crs == CRS.from_epsg(epsg)


def test_a_gis_sees_points_with_their_labels(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.gpkg", SAMPLES, UTM40)
    info = pyogrio.read_info(tmp_path / "samples.gpkg")
    assert (info["layer_name"], info["geometry_type"], info["features"]) == ("samples", "Point", 2)
    assert list(info["fields"]) == ["place", "day", "label", "kind", "storm", "accuracy_m", "event"]
    assert info["ogr_types"][1] == "OFTDate"


def test_columns_may_change_places_and_others_stand_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    write_samples(path, SAMPLES, UTM40)
    rows = [line.split(",") for line in path.read_text("utf-8").splitlines()]
    path.write_text("\n".join(",".join(["note", *row[::-1]]) for row in rows) + "\n", "utf-8")
    assert read_samples(path).samples == SAMPLES


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (",1,event,", ",2,event,", r"line 2: label '2' is not 0 or 1"),
        (",1,event,", ",0,event,", r"line 2: label 0 and kind event contradict each other"),
        (",0,spatial,", ",0,moon,", r"line 3: kind 'moon' is not one of event, spatial"),
        ("1999-12-31", "31.12.1999", r"line 3: day '31.12.1999' is not a day"),
        ("500000.1", "east", r"line 2: x 'east' is not a number"),
        ("500000.1", "nan", r"line 2: x nan is not a finite number"),
        (",30.0,", ",-30.0,", r"line 2: accuracy_m -30.0 is negative"),
        ("event-a", "", r"line 2: place '' is empty"),
        (",0.0,a,EPSG:32640", "", r"line 3: the row ends before accuracy_m, event, crs"),
        (",0.0,a,EPSG:32640", ",0.0,a,EPSG:32639", r"line 3: crs 'EPSG:32639', but 'EPSG:32640' above"),
        ("EPSG:32640", "somewhere", r"'somewhere' is not a CRS"),
        ("x,y,place", "x,y,spot", r"no column place; it has: x, y, spot"),
    ],
)
def test_a_damaged_table_is_refused_by_line(tmp_path: Path, before: str, after: str, reason: str) -> None:
    path = tmp_path / "samples.csv"
    write_samples(path, SAMPLES, UTM40)
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8")
    with pytest.raises(InputError, match=reason):
        read_samples(path)


def test_a_cut_off_file_and_another_one_are_refused(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.gpkg", SAMPLES, UTM40)
    whole = (tmp_path / "samples.gpkg").read_bytes()
    (tmp_path / "samples.gpkg").write_bytes(whole[:5000])
    with pytest.raises(InputError, match=r"samples\.gpkg cannot be read"):
        read_samples(tmp_path / "samples.gpkg")
    (tmp_path / "open.csv").write_text('x,y\n"1,2\n', "utf-8")
    with pytest.raises(InputError, match="no column place"):
        read_samples(tmp_path / "open.csv")
    with pytest.raises(InputError, match="no such file"):
        read_samples(tmp_path / "none.csv")


def test_a_table_of_nothing_is_neither_written_nor_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sample to write"):
        write_samples(tmp_path / "samples.csv", [], UTM40)
    write_samples(tmp_path / "samples.csv", SAMPLES, UTM40)
    header = (tmp_path / "samples.csv").read_text("utf-8").splitlines()[0]
    (tmp_path / "samples.csv").write_text(header + "\n", "utf-8")
    with pytest.raises(InputError, match="holds no samples"):
        read_samples(tmp_path / "samples.csv")


def test_a_sample_that_no_table_gives_back_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    write_samples(path, SAMPLES, UTM40)
    broken = Sample(0.0, 0.0, "a\nb", date(2020, 1, 1), 0, Kind.BOTH, None, 0.0, "a")
    with pytest.raises(InputError, match=r"sample 2 of 2.*control character"):
        write_samples(path, [SAMPLES[0], broken], UTM40)
    assert read_samples(path).samples == SAMPLES


def test_another_suffix_is_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a sample table is a \.csv or a \.gpkg"):
        write_samples(tmp_path / "samples.xlsx", SAMPLES, UTM40)
    with pytest.raises(UsageError, match=r"a sample table is a \.csv or a \.gpkg"):
        read_samples(tmp_path / "samples.xlsx")


def test_labelled_squares_are_samples_at_their_centres_without_those_in_between() -> None:
    squares = [Square("p1", 1000.0, 5000.0, 60), Square("p2", 2280.0, 5000.0, 0), Square("p3", 0, 0, 20)]
    positive, negative = square_samples(squares, date(2023, 5, 17))
    assert (positive.x, positive.y, positive.place) == (1640.0, 4360.0, "p1")
    assert (positive.label, positive.kind, negative.label, negative.kind) == (
        1, Kind.EVENT, 0, Kind.SPATIAL,
    )  # fmt: skip
    assert positive.day == negative.day == date(2023, 5, 17)
    assert positive.accuracy_m == pytest.approx(640 * 2**0.5)
    assert positive.storm is None  # one storm: a split by storm would leave one group
