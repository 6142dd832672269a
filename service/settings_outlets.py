"""Settings of what leaves the house: exporters, with their logins, and the map page."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from service.settings_base import FilePath, Secret, Section, Slug


class FolderExporter(Section):
    """Copies finished layers to another folder (a share, a web server's root)."""

    kind: Literal["folder"] = "folder"
    name: Slug
    path: FilePath


class PostgisLogin(Section):
    """How to reach the database as one role. What the DSN leaves out comes from libpq's own PG* variables."""

    dsn: str = ""  # "host=db dbname=gis user=colluvium"; never a password
    password: Secret | None = None

    @field_validator("dsn")
    @classmethod
    def _no_password(cls, value: str) -> str:
        # A DSN is shown in errors and logs, and the settings are kept in the ledger.
        if "password" in value.lower() or re.search(r"://[^@/]*:[^@/]*@", value):
            raise ValueError(
                'take the password out of the DSN; give password = { env = "NAME" } or { file = "PATH" }'
            )
        return value


class PostgisExporter(Section):
    """Publishes layers to PostGIS, one schema for a region."""

    kind: Literal["postgis"]
    name: Slug
    writer: PostgisLogin = PostgisLogin()  # a member of colluvium_writer
    owner: PostgisLogin | None = None  # a member of colluvium_owner; migrates the schema where given
    db_schema: Annotated[Slug | None, Field(alias="schema")] = None  # default: the region's id
    history_days: Annotated[int, Field(ge=1, le=3_660)] = 30  # rasters kept in table susceptibility
    hotspot_days: Annotated[int, Field(ge=1, le=36_600)] = 400
    area_days: Annotated[int | None, Field(ge=1, le=36_600)] = None  # zone_class_area; default: for ever
    connect_timeout_s: Annotated[int, Field(ge=1, le=120)] = 10
    statement_timeout_s: Annotated[int, Field(ge=1, le=3_600)] = 300


class WebSettings(Section):
    """What the map page and the links in files say."""

    public_url: str | None = None  # https://map.example.org; default: as the request came
    openstreetmap: bool = False  # offer OpenStreetMap as a base map; its tiles are fetched by the browser
    official_name: str = ""  # the official warning service that the page links to
    official_url: str | None = None
    licence: str = ""
    texts: FilePath | None = None  # a JSON file that translates the page's texts

    @field_validator("public_url", "official_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s\"'<>\\]+", value):
            raise ValueError("must be an address that begins with http:// or https://")
        return value.rstrip("/") if value else value
