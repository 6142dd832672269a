"""Settings of how a feed is fetched over HTTP: patience, politeness, logins, trust."""

from __future__ import annotations

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from service.settings_base import FilePath, Positive, Secret, Section

_MIB = 2**20
_KEY = re.compile(r"(?i)auth|cookie|key|token|secret|passw")


class FeedHttp(Section):
    """One feed's way to its server. Everything has a limit: no reply may hold up a refresh or fill a disk."""

    connect_timeout_s: Positive = 10.0
    read_timeout_s: Positive = 60.0
    retries: Annotated[int, Field(ge=0, le=10)] = 3  # of what is worth retrying: 429, 5xx, broken connections
    backoff_s: Positive = 1.0  # doubles with each retry, with jitter; Retry-After counts where it is given
    max_retry_after_s: Positive = 120.0  # asked to wait longer than this, the feed fails for now
    max_bytes: Annotated[int, Field(gt=0)] = 200 * _MIB  # of one reply
    requests_per_minute: Positive | None = None
    allowed_hosts: tuple[str, ...] = ()  # that a redirect may lead to, beside the host asked
    proxy: str | None = None  # default: HTTPS_PROXY and the like, as everywhere
    ca_bundle: FilePath | None = None  # of a private certificate authority
    headers: dict[str, str] = Field(default_factory=dict)
    user: str | None = None  # basic login
    password: Secret | None = None
    token: Secret | None = None  # sent as `Authorization: Bearer`, unless one of the next two is given
    token_header: str | None = None
    token_parameter: str | None = None
    breaker_failures: Annotated[int, Field(ge=1)] = 5  # in a row: then nothing is asked for a while
    breaker_minutes: Positive = 30.0

    @field_validator("proxy")
    @classmethod
    def _proxy_without_login(cls, value: str | None) -> str | None:
        # Settings are shown in errors and kept in the ledger.
        if value is not None and urlsplit(value).password is not None:
            raise ValueError("holds a password; give that proxy in the environment, as HTTPS_PROXY")
        return value

    @field_validator("headers")
    @classmethod
    def _no_keys(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if _KEY.search(name):
                raise ValueError(f"{name!r} looks like a key; use 'token' with 'token_header', or 'password'")
        return value

    @model_validator(mode="after")
    def _whole_login(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("'user' and 'password' belong together")
        return self
