"""JSON feeds for tests: their settings, from presets or not, and a service that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from service.feed_log import Problem
from service.feeds.base import Batch, FeedContext, FeedFault
from service.feeds.csv_feed import CsvFeedReader
from service.feeds.http_content import Expect
from service.feeds.http_replies import Reply
from service.feeds.json_feed import JsonFeedReader
from service.quality import Observation, Rejection
from service.settings_feeds import FeedSettings, with_preset
from tests.fix_feeds import NOW, ROME, context_for

Answer = Callable[[str, Mapping[str, str]], Any]


@dataclass
class Service:
    """Answers with what `answer` returns for an address and its query: JSON values, bytes, or an error."""

    folder: Path
    answer: Answer
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        expect: Expect = "any",
        absent_ok: bool = False,
    ) -> Reply | None:
        """Answer, and note what was asked."""
        self.asked.append((url, dict(params or {})))
        body = self.answer(url, dict(params or {}))
        if isinstance(body, FeedFault):
            raise body
        path = self.folder / f"reply-{len(self.asked)}"
        path.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        return Reply(url, path, "application/json", NOW, False, None)


def json_settings(**values: Any) -> Any:
    """Settings of one feed, as the section of a settings file gives them."""
    section = (
        {"name": "api", "variable": "rain", "unit": "mm", "kind": "json"}
        if "preset" not in values
        else {"name": "api"}
    )
    return TypeAdapter(FeedSettings).validate_python(with_preset(section | values))


def fetch(
    settings: Any,
    http: Service | None = None,
    region: ZoneInfo = ROME,
    clock: Callable[[], datetime] = lambda: NOW,
    context: FeedContext | None = None,
    **span: Any,
) -> tuple[Batch, list[Observation | Rejection | Problem]]:
    """One fetch of a feed, and everything it streams."""
    context = context or context_for(region, clock=clock)
    reader = (JsonFeedReader if settings.kind == "json" else CsvFeedReader)(settings, context, http)
    batch = reader.fetch(span.get("since"), span.get("until"))
    return batch, list(batch.rows)


def problems_of(batch: Batch, rows: Iterable[Observation | Rejection | Problem]) -> list[Problem]:
    """The problems of a fetch."""
    return [*batch.problems, *(row for row in rows if isinstance(row, Problem))]
