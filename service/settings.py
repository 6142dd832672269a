"""One region's settings: a typed tree from TOML, COLLUVIUM_ environment variables and secret files.

Order of precedence: environment (`COLLUVIUM_HTTP__PORT=8000`), secret files (a folder named by
`COLLUVIUM_SECRETS_DIR`), then the TOML file. Relative paths are relative to the TOML file.
"""

from __future__ import annotations

import os
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import (
    SettingsError as SettingsSourceError,
)

from exporters.layer import ClassScheme
from service.errors import SettingsError
from service.settings_base import FilePath, Positive, Section, Slug, resolve, settings_folder
from service.settings_csv import CsvFeed
from service.settings_detection import DetectionSettings
from service.settings_engine import EngineSettings
from service.settings_feeds import FeedSettings, IngestSettings, with_preset
from service.settings_forecast import ForecastSettings
from service.settings_json import JsonFeed
from service.settings_outlets import FolderExporter, PostgisExporter, WebSettings
from service.settings_quality import QualitySettings
from service.settings_raster import RasterFeed
from service.settings_verification import VerificationSettings
from service.settings_warnings import CapSettings, WarningSettings

__all__ = ["CsvFeed", "JsonFeed", "RasterFeed", "Settings", "load_settings", "parse_settings"]

ENVIRONMENT_PREFIX = "COLLUVIUM_"
CONFIG_VARIABLE = "COLLUVIUM_CONFIG"


class RegionSettings(Section):
    """Who and where."""

    id: Slug
    name: str
    timezone: str = "UTC"
    data_dir: FilePath
    attribution: str = ""
    synthetic: bool = False  # every picture, page and file then says so

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"unknown time zone {value!r}; use a name such as Europe/Rome") from error
        return value


class GridSettings(Section):
    """The cells: either the extent of a DEM, or given bounds."""

    crs: str
    cell_size_m: Positive = 30.0
    extent: tuple[float, float, float, float] | None = None  # left, bottom, right, top
    dem: FilePath | None = None
    forcing_cell: Annotated[int, Field(ge=2, le=256)] = 32  # k: cells along one side of a forcing cell

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.extent is None and self.dem is None:
            raise ValueError("give either 'extent' or 'dem'")
        return self


class MaskSettings(Section):
    """Which cells count: polygons (GeoJSON, GeoPackage). Without it, the whole grid."""

    path: FilePath


class ZoneSettings(Section):
    """Named polygons whose areas are reported."""

    path: FilePath
    id_field: str = "id"
    name_field: str = "name"


Terrain = Literal[
    "elevation",
    "slope",
    "northness",
    "eastness",
    "plan_curvature",
    "profile_curvature",
    "twi",
    "spi",
    "distance_to_streams",
]


class VectorDistance(Section):
    """Distance to the nearest feature of a vector file, in metres, capped."""

    name: Slug
    path: FilePath
    cap_m: Positive = 20_000.0
    date: date


class RasterFactor(Section):
    """A raster warped to the grid: continuous (bilinear), or categorical (nearest, with names)."""

    name: Slug
    path: FilePath
    kind: Literal["continuous", "categorical"] = "continuous"
    unit: str = ""
    categories: dict[int, str] = Field(default_factory=dict)
    log: bool = False
    date: date

    @field_validator("categories", mode="before")
    @classmethod
    def _integer_codes(cls, value: Any) -> Any:
        return {int(code): name for code, name in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _named_codes(self) -> Self:
        if (self.kind == "categorical") != bool(self.categories):
            raise ValueError("'categories' (code = name) belongs to kind 'categorical', and only to it")
        return self


class NdviSettings(Section):
    """NDVI = (NIR - red) / (NIR + red)."""

    red: FilePath
    nir: FilePath
    date: date


class FactorSettings(Section):
    """The static factors and where they come from."""

    stack: FilePath | None = None  # default: <data_dir>/factors.tif
    dem: FilePath | None = None  # default: grid.dem
    dem_date: date | None = None
    terrain: tuple[Terrain, ...] = ("elevation", "slope", "northness", "eastness")
    stream_threshold_km2: Positive = 1.0
    distance_cap_m: Positive = 20_000.0
    distances: tuple[VectorDistance, ...] = ()
    rasters: tuple[RasterFactor, ...] = ()
    ndvi: NdviSettings | None = None
    reservoir: bool = False  # distance, height above the rim and influence of [reservoirs]


class ReservoirSettings(Section):
    """Reservoir polygons with id, name and full reservoir level."""

    path: FilePath
    id_field: str = "id"
    name_field: str = "name"
    full_level_field: str = "full_level_m"
    link_distance_m: Positive = 3_000.0  # forcing cells nearer than this are linked
    link_height_m: Positive = 300.0  # and not higher above the rim than this


class ForcingSettings(Section):
    """How readings become daily surfaces on the forcing nodes."""

    max_distance_km: Positive = 30.0
    neighbours: Annotated[int, Field(ge=1, le=64)] = 8
    power: Positive = 2.0  # of inverse distance
    fill: Literal["same_day", "linear"] = "same_day"  # linear: the paper's, along time; misses storms
    max_carry_days: Annotated[int, Field(ge=0, le=30)] = 3  # a level persists this long at its open end
    min_coverage: Annotated[float, Field(gt=0, le=1)] = 0.9  # below: the layer is degraded
    # Raster feeds in order of preference, for where no gauge in range reported; default: by name.
    rasters: tuple[Slug, ...] = ()


class BundleSettings(Section):
    """The trained model."""

    path: FilePath
    allow_transfer: bool = False  # serve a bundle trained elsewhere; it then never warns
    # Makes layers of its own beside, which are kept and never shown, until `colluvium bundle promote`.
    challenger: FilePath | None = None


class HotspotSettings(Section):
    """Contiguous high and very high cells that are worth naming."""

    min_area_m2: Positive = 20_000.0
    at_most: Annotated[int, Field(ge=1)] = 1_000


class InferenceSettings(Section):
    """Resources of one refresh."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0  # 0: one for each core
    # gpu: refuse to start without one; auto: use one where there is one, and say what is used.
    device: Literal["auto", "cpu", "gpu"] = "auto"
    # Of the head on a graphics card; auto: float16 where it holds its proof (docs/gpu.md).
    precision: Literal["auto", "float32", "float16"] = "auto"
    device_memory_gb: Positive | None = None  # of the card, for state and head; default: by what is free
    min_patch_observed: Annotated[float, Field(gt=0, le=1)] = 1.0
    # Forcing cells whose windows are those of an earlier layer keep its values: the layer is the same to the
    # byte. false: everything is computed.
    keep_unchanged: bool = True
    # The spatial state: on the disk, or computed again for each layer, which takes about ten times as long.
    # auto: stored where the budget and the free disk allow it; check, status and the log say what is done.
    state: Literal["auto", "stored", "recomputed"] = "auto"
    state_disk_budget_gb: Positive | None = None  # of the bundle in use, its members included; default: none


class ScheduleSettings(Section):
    """Cron expressions in the region's time zone."""

    ingest: str = "15 * * * *"
    refresh: str = "30 5-8 * * *"
    catch_up_days: Annotated[int, Field(ge=0, le=366)] = 30
    # In the region's time zone; by then the day's map must be there, if its readings can be (service.due).
    ready_by: time = time(9)


class HttpSettings(Section):
    """Where the daemon listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080


class RetentionSettings(Section):
    """What is kept on the local disk. Undelivered or cited layers are never removed."""

    surface_days: Annotated[int, Field(ge=62)] = 400
    layer_days: Annotated[int | None, Field(ge=8)] = None  # every layer for so long; default: for ever
    thin_to_days: Annotated[int | None, Field(ge=2)] = None  # of older ones, one in so many; default: none


class Settings(BaseSettings):
    """Everything about one region. One file, one daemon, one data folder."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    region: RegionSettings
    grid: GridSettings
    mask: MaskSettings | None = None
    zones: ZoneSettings | None = None
    factors: FactorSettings = FactorSettings()
    reservoirs: ReservoirSettings | None = None
    feeds: tuple[FeedSettings, ...] = ()
    ingest: IngestSettings = IngestSettings()
    quality: QualitySettings = QualitySettings()
    forecast: ForecastSettings = ForecastSettings()
    forcing: ForcingSettings = ForcingSettings()
    bundle: BundleSettings
    classes: ClassScheme | None = None  # default: the bundle's
    hotspots: HotspotSettings = HotspotSettings()
    warnings: WarningSettings = WarningSettings()
    cap: CapSettings | None = None
    detection: DetectionSettings | None = None
    verification: VerificationSettings = VerificationSettings()
    inference: InferenceSettings = InferenceSettings()
    engine: EngineSettings = EngineSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    http: HttpSettings = HttpSettings()
    web: WebSettings = WebSettings()
    exporters: tuple[Annotated[FolderExporter | PostgisExporter, Field(discriminator="kind")], ...] = ()
    retention: RetentionSettings = RetentionSettings()
    training: dict[str, Any] = Field(default_factory=dict)  # read by the trainer alone

    @field_validator("feeds", mode="before")
    @classmethod
    def _presets(cls, value: Any) -> Any:
        return tuple(with_preset(item) for item in value) if isinstance(value, list | tuple) else value

    @field_validator("training")
    @classmethod
    def _training_paths(cls, value: dict[str, Any]) -> dict[str, Any]:
        # The tree below is the trainer's, but only here is the folder of the file known.
        inventory = value.get("inventory")
        if not isinstance(inventory, dict) or not isinstance(inventory.get("path"), str):
            return value
        return {**value, "inventory": {**inventory, "path": resolve(Path(inventory["path"]))}}

    @property
    def timezone(self) -> ZoneInfo:
        """The region's time zone."""
        return ZoneInfo(self.region.timezone)

    @property
    def data_dir(self) -> Path:
        """The region's data folder."""
        return self.region.data_dir

    @property
    def stack_path(self) -> Path:
        """Where the factor stack lies."""
        return self.factors.stack or self.data_dir / "factors.tif"

    def without_forecasts(self) -> Self:
        """The same region without its feeds of forecasts: of the past, what was measured counts."""
        measured = tuple(feed for feed in self.feeds if not feed.forecast)
        return self.model_copy(update={"feeds": measured, "forecast": ForecastSettings()})

    @property
    def feed_files(self) -> tuple[Path, ...]:
        """The files of the feeds that read files of text."""
        return tuple(
            Path(feed.path) for feed in self.feeds if isinstance(feed, CsvFeed | JsonFeed) and feed.path
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [feed.name for feed in self.feeds] + [exporter.name for exporter in self.exporters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names of feeds and exporters must differ; twice: {', '.join(twice)}")
        rasters = {feed.name for feed in self.feeds if feed.kind == "raster"}
        if unknown := [name for name in self.forcing.rasters if name not in rasters]:
            raise ValueError(f"forcing.rasters names no raster feed: {', '.join(unknown)}")
        if unknown := sorted(set(self.quality.feeds) - {feed.name for feed in self.feeds}):
            raise ValueError(f"quality.feeds names no feed: {', '.join(unknown)}")
        ahead = {feed.name for feed in self.feeds if feed.forecast and feed.variable == "rain"}
        if self.forecast.leads and (
            self.forecast.feed not in ahead if self.forecast.feed else len(ahead) != 1
        ):
            raise ValueError(
                "forecast.leads needs one feed of rain with forecast = true, or forecast.feed to name one of "
                f"several; those are: {', '.join(sorted(ahead)) or 'none'}"
            )
        if self.region.synthetic and self.cap is not None and self.cap.status == "Actual":
            raise ValueError(
                'cap.status = "Actual" is not for a synthetic region: nobody is to be alarmed by it'
            )
        if self.engine.kind == "dask" and self.inference.device == "gpu":
            raise ValueError(
                'engine.kind = "dask" computes on processors; either leave inference.device out, or set '
                'engine.kind = "local" on the machine with the graphics card'
            )
        if self.factors.reservoir and self.reservoirs is None:
            raise ValueError("factors.reservoir = true needs a [reservoirs] section")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment and secret files above the TOML file, which arrives as init arguments."""
        return env_settings, file_secret_settings, init_settings


def load_settings(path: Path) -> Settings:
    """Read a region's settings.

    Raises SettingsError that names the file and each wrong key.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SettingsError(
            f"cannot read the settings file {path}: {error.strerror}. "
            f"Either pass -c FILE or set {CONFIG_VARIABLE}."
        ) from error
    return parse_settings(text, base=path.resolve().parent, origin=str(path))


def parse_settings(text: str, *, base: Path, origin: str) -> Settings:
    """Parse settings from TOML text; relative paths are relative to `base`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{origin} is not valid TOML: {error}") from error
    token = settings_folder.set(base)
    try:
        secrets = os.environ.get(f"{ENVIRONMENT_PREFIX}SECRETS_DIR")
        return Settings(_secrets_dir=secrets, **values)  # type: ignore[call-arg]  # the library's own argument
    except ValidationError as error:
        lines = [f"  {_key(item['loc'])}: {_say(item)}" for item in error.errors()]
        raise SettingsError(f"{origin} cannot be used:\n" + "\n".join(lines)) from error
    except SettingsSourceError as error:  # an environment variable that is not valid JSON
        raise SettingsError(f"the environment cannot be used: {error}") from error
    finally:
        settings_folder.reset(token)


def _key(location: tuple[int | str, ...]) -> str:
    if len(location) > 3 and location[0] == "feeds":
        location = (*location[:2], *location[3:])  # without the kind, which the section may leave out
    return ".".join(str(part) for part in location) or "(file)"


def _say(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key; see the example in config/"
    if item["type"] == "missing":
        return "missing"
    return f"{item['msg']} (got {item['input']!r})" if item["type"] != "value_error" else str(item["msg"])
