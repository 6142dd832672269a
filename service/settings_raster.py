"""Settings of feeds whose days are rasters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from service.feeds.raster_templates import check_template, dated
from service.settings_base import Hours, Positive, Section, resolve
from service.settings_feed import FeedCommon


def _template(value: str) -> str:
    check_template(value)
    return value


def _from_settings_file(value: str) -> str:
    return str(resolve(Path(value)))


# {day:%Y} and the like: the feed's day; {start}, {end}, {last}: of the step ({last} is a second before its
# end); {minutes}: from the day's begin to the step's; {version}: one of `versions`.
Template = Annotated[str, AfterValidator(_template)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,40}$")]


class RasterProduct(Section):
    """One product of several that tell of the same days. Products are listed best first."""

    name: Label  # the product version in the archive begins with it
    url: Template | None = None
    path: Annotated[Template, AfterValidator(_from_settings_file)] | None = None
    versions: tuple[Label, ...] = ()  # what {version} may be, best first
    latency_hours: Hours | None = None  # after the day's end it may be expected; default: the feed's
    min_age_days: Annotated[int, Field(ge=0)] = 0  # it never comes earlier after the day's end: do not ask

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.url is None) == (self.path is None):
            raise ValueError("give either 'url' or 'path'")
        if ("{version" in self.place) != bool(self.versions):
            raise ValueError("'versions' and a {version} in 'url' or 'path' belong together")
        return self

    @property
    def place(self) -> str:
        """The template, whichever it is."""
        return self.url or self.path or ""


class RawGrid(Section):
    """The layout of a flat binary file: rows from north to south, nothing before or after them."""

    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    dtype: Literal["float32", "float64", "int16", "uint16", "int32"] = "float32"
    byte_order: Literal["little", "big"] = "little"
    west: float  # outer edges, in `crs`
    north: float
    pixel: Positive


class RasterFeed(FeedCommon):
    """A daily (or sub-daily) product: GeoTIFF, COG, NetCDF or flat binary, by URL or path template."""

    kind: Literal["raster"]
    variable: Literal["rain"]
    format: Literal["geotiff", "netcdf", "raw"] = "geotiff"  # packed or not: gzip, zip ...
    url: Template | None = None  # of the only product; else see `products`
    path: Annotated[Template, AfterValidator(_from_settings_file)] | None = None
    versions: tuple[Label, ...] = ()
    products: tuple[RasterProduct, ...] = ()
    # Through a window only the region's bytes are asked for, where server and file allow it.
    read: Literal["window", "whole"] = "window"
    raw: RawGrid | None = None
    field: str | None = None  # the variable of a NetCDF file, where it has several
    band: Annotated[int, Field(ge=1)] | Literal["step"] = (
        1  # "step": one band for each step of the feed's day
    )
    band_time: Literal["start", "middle", "end"] = "start"  # what a time in a NetCDF file says of its step
    step_hours: Annotated[float, Field(gt=0, le=24)] = 24.0
    # "day": each step holds all that has fallen since the feed's day began.
    accumulated: Literal["step", "day"] = "step"
    unit: Literal["mm", "cm", "m", "in", "mm/h", "mm/s"]  # after scale and offset
    scale: float | None = None  # default: what the file says of itself
    offset: float | None = None
    nodata: tuple[float, ...] = ()  # as stored, beside what the file is tagged with
    crs: str | None = None  # of files that do not say
    lookback_days: Annotated[int, Field(ge=1, le=4000)] = 35  # days not known yet are looked for so far back
    settle_days: Annotated[int, Field(ge=0, le=4000)] = 35  # so old, a day is left with the product it has
    recheck_days: Annotated[int, Field(ge=0, le=60)] = 3  # so young, a day is read again though it is known
    max_requests: Annotated[int, Field(ge=1)] = 500  # of one fetch; the next goes on

    @property
    def chain(self) -> tuple[RasterProduct, ...]:
        """The products, best first."""
        if self.products:
            return self.products
        return (RasterProduct(name="", url=self.url, path=self.path, versions=self.versions),)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.products and (self.url or self.path or self.versions):
            raise ValueError("give either 'products' or one 'url' or 'path' with its 'versions'")
        if len({product.name for product in self.chain}) < len(self.products):
            raise ValueError("two products have the same name")
        if self.forecast:
            raise ValueError("a raster feed brings no forecasts; leave 'forecast' out")
        if (self.raw is not None) != (self.format == "raw"):
            raise ValueError("'raw' describes the layout of format = \"raw\", and of no other")
        if self.field is not None and self.format != "netcdf":
            raise ValueError("'field' names a variable of format = \"netcdf\", and of no other")
        if self.format == "raw" and self.crs is None:
            raise ValueError("format = \"raw\" says nothing of its 'crs'; give it")
        if self.accumulated == "day" and self.step_hours == 24:
            raise ValueError("with accumulated = \"day\" set 'step_hours' to the hours between two steps")
        if (24 / self.step_hours) % 1:
            raise ValueError("'step_hours' must divide 24")
        for product in self.chain:
            if not dated(product.place) and (self.format != "netcdf" or product.url):
                raise ValueError(
                    f"{product.place!r} names no day: write {{day:%Y%m%d}} or the like "
                    "(a path to NetCDF files may do without, since they say their times)"
                )
        return self
