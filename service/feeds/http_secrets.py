"""Secrets out of what people see: addresses, errors, logs."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"

_LOGIN_IN_ADDRESS = re.compile(r"(?<=://)[^/\s?#@]*@")
# Parameters that carry a key at common services; a signed address is a key as well.
_SECRET_PARAMETERS = re.compile(
    r"(?i)(?<=[?&;])((?:[\w.-]*(?:key|token|secret|passw(?:or)?d|signature|credential)|appid|sig|auth|pwd)=)"
    r"[^&;#\s'\")]*"
)


class Masker:
    """Writes `***` for the secrets of one feed, however they are written, and for what looks like one."""

    def __init__(self, secrets: Iterable[str] = (), parameter: str | None = None) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        # The longest first: a password may be a part of what is sent for it.
        self._forms = sorted(forms, key=len, reverse=True)
        self._own = re.compile(rf"(?<=[?&;])({re.escape(parameter)}=)[^&;#\s'\")]*") if parameter else None

    def __call__(self, text: object) -> str:
        """Return the text of an object with its secrets masked."""
        shown = str(text)
        for form in self._forms:
            shown = shown.replace(form, MASK)
        shown = _LOGIN_IN_ADDRESS.sub(f"{MASK}@", shown)
        if self._own is not None:
            shown = self._own.sub(rf"\1{MASK}", shown)
        return _SECRET_PARAMETERS.sub(rf"\1{MASK}", shown)


def basic_login(user: str, password: str) -> str:
    """Return the value of an Authorization header (RFC 7617, in UTF-8)."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def _forms(secret: str) -> set[str]:
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
