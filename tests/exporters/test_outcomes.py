"""What outlets publish of events: nothing that names a person, and nothing of the challenger."""

from __future__ import annotations

import pytest

from exporters.outcomes import Outcomes, PublicEvent
from tests.fix_outcomes import WHO, WHY, WORDS, detected, inventory, square, verification, verified


def test_neither_names_nor_reasons_nor_notes_are_published() -> None:
    events = inventory()

    said = Outcomes.of(events, verified(events)).model_dump_json()

    assert all(words in "".join(one.model_dump_json() for one in events) for words in (WHO, WHY, WORDS))
    assert not any(words in said for words in (WHO, WHY, WORDS))
    assert [one.uid for one in Outcomes.of(events, None).events] == [one.uid for one in events]


def test_an_outline_that_is_no_area_is_left_out() -> None:
    line = {"type": "LineString", "coordinates": [[9.0, 45.0], [9.1, 45.1]]}

    assert PublicEvent.of(detected("a", outline=line)).outline is None
    assert PublicEvent.of(detected("a", outline=square(9.0, 45.0))).outline == square(9.0, 45.0)


def test_the_challengers_record_is_refused() -> None:
    with pytest.raises(ValueError, match="record of the challenger is not published"):
        Outcomes.of([], verification(of="challenger"))
