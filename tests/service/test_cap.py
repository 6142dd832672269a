"""CAP messages: a thread for each warning, from Alert to Cancel, all valid against the standard's schema."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.cap import CapMessage, cap_xml
from tests.fix_cap import (
    CAP,
    DAY,
    Desk,
    morning,
    open_desk,
    read_valid,
    texts_of,
)

NEXT = DAY + timedelta(days=1)
GREEN = {"west": 0, "east": 0}
ORANGE = {"west": 2, "east": 0}


@pytest.fixture
def desk(toy_template: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = open_desk(toy_template, tmp_path / "desk")
    with desk.ledger:
        yield desk


def said(messages: list[CapMessage]) -> list[tuple[str, str, str]]:
    return [(message.kind, message.zone, message.infos[0].severity) for message in messages]


# --- a thread, from its beginning to its end ---


def test_a_raised_level_begins_a_thread_that_ends_when_the_level_has_gone_down(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    (alert,) = desk.send()
    desk.show(NEXT, {"west": 3, "east": 0})
    (update,) = desk.send(morning(NEXT))
    desk.show(NEXT + timedelta(days=1), GREEN)
    (cancel,) = desk.send(morning(NEXT + timedelta(days=1)))

    assert said([alert, update, cancel]) == [
        ("Alert", "west", "Severe"),
        ("Update", "west", "Extreme"),
        ("Cancel", "west", "Extreme"),
    ]
    assert alert.thread == update.thread == cancel.thread
    assert alert.references == ()
    assert [item.identifier for item in update.references] == [alert.identifier]
    assert [item.identifier for item in cancel.references] == [alert.identifier, update.identifier]
    for message in (alert, update, cancel):
        read_valid(cap_xml(message))


def test_each_zone_has_a_thread_of_its_own(desk: Desk) -> None:
    desk.show(DAY, {"west": 1, "east": 3})

    messages = desk.send()

    assert said(messages) == [("Alert", "east", "Extreme"), ("Alert", "west", "Moderate")]
    assert messages[0].thread != messages[1].thread


def test_nothing_is_sent_twice(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.send()

    assert desk.send() == []
    assert desk.send(morning(DAY, 20)) == []
    desk.show(DAY, ORANGE)  # a revision that says the same
    assert desk.send() == []


def test_a_green_map_sends_nothing(desk: Desk) -> None:
    desk.show(DAY, GREEN)

    assert desk.send() == []


def test_a_level_that_comes_back_begins_a_new_thread(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.send()
    desk.show(DAY, GREEN)
    desk.send(morning(DAY, 7))
    desk.show(DAY, ORANGE)
    (again,) = desk.send(morning(DAY, 8))

    assert again.kind == "Alert"
    assert again.references == ()
    assert again.thread != desk.sent[0].thread


def test_a_new_day_at_the_same_level_is_an_update_before_the_old_message_lapses(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    (alert,) = desk.send()
    desk.show(NEXT, ORANGE)

    (update,) = desk.send(morning(NEXT))

    assert update.kind == "Update"
    assert update.sent < alert.expires < update.expires


def test_levels_below_the_one_of_the_settings_are_not_sent(desk: Desk) -> None:
    desk.use(CAP + "min_level = 2\n")
    desk.show(DAY, {"west": 1, "east": 2})
    assert said(desk.send()) == [("Alert", "east", "Severe")]
    desk.show(DAY, {"west": 1, "east": 1})

    assert said(desk.send(morning(DAY, 7))) == [("Cancel", "east", "Severe")]


# --- not knowing ends nothing ---


def test_an_old_map_does_not_let_a_warning_lapse(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    (alert,) = desk.send()
    hours = [morning(NEXT) + timedelta(hours=n) for n in range(96)]

    for hour in hours:
        desk.send(hour)
        stands = desk.ledger.cap.last_of_open_threads()
        assert [message.infos[0].expires > hour for message in stands] == [True]

    first, *others = desk.sent[1:]
    assert first.sent == morning(NEXT, 9)  # ready_by
    assert {message.kind for message in (first, *others)} == {"Update"}
    assert len(others) < 10  # not every hour
    assert "no newer map" in first.infos[0].headline
    assert first.infos[0].certainty == "Unknown"
    assert alert.infos[0].certainty == "Possible"


def test_a_level_that_is_not_known_ends_no_warning(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.send()
    desk.show(NEXT, {"west": None, "east": 0})

    (update,) = desk.send(morning(NEXT))

    assert update.kind == "Update"
    assert update.basis[0].last_known
    assert update.basis[0].day == DAY


def test_a_level_that_is_not_known_begins_none(desk: Desk) -> None:
    desk.show(DAY, {"west": None, "east": None})

    assert desk.send() == []


def test_what_is_days_old_when_it_is_first_seen_begins_no_thread(desk: Desk) -> None:
    desk.show(DAY, ORANGE)

    assert desk.send(morning(DAY + timedelta(days=3))) == []


def test_a_warning_on_doubtful_readings_says_so_and_says_when_they_were_confirmed(desk: Desk) -> None:
    desk.show(DAY, ORANGE, unconfirmed=True)
    (doubtful,) = desk.send()
    desk.show(DAY, ORANGE)
    (confirmed,) = desk.send(morning(DAY, 7))

    assert doubtful.infos[0].certainty == "Unknown"
    assert "doubts" in doubtful.infos[0].description
    assert (confirmed.kind, confirmed.infos[0].certainty) == ("Update", "Possible")


def test_a_level_that_went_down_to_not_known_ends_its_thread_without_an_all_clear(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.send()
    layer = desk.show(NEXT, {"west": None, "east": 0})
    # What service.warnings decides where a zone that is mostly unknown is calm again on the cells that rose.
    lowered = tuple(
        warning.model_copy(update={"previous": 2}) if warning.zone == "west" else warning
        for warning in layer.warnings
    )
    desk.show(NEXT, {"west": None, "east": 0}, warnings=lowered)
    desk.show(NEXT + timedelta(days=1), {"west": None, "east": 0})  # a day on which no message was made

    (cancel,) = desk.send(morning(NEXT + timedelta(days=1)))

    assert cancel.kind == "Cancel"
    assert cancel.infos[0].urgency == "Unknown"
    assert "no all-clear" in (cancel.note or "")


# --- what people do ---


def test_a_withdrawn_map_cancels_what_rested_on_it_and_gives_no_all_clear(desk: Desk) -> None:
    layer = desk.show(DAY, ORANGE)
    desk.send()
    desk.ledger.withdraw(layer, "A. Rossi", "gauge 7 flooded", [])

    (cancel,) = desk.send(morning(DAY, 7))

    assert cancel.kind == "Cancel"
    assert "withdrawn" in cancel.infos[0].headline
    assert "no all-clear" in (cancel.note or "")
    assert cancel.infos[0].urgency == "Unknown"


def test_after_a_withdrawal_the_map_before_it_stands_again(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.send()
    layer = desk.show(NEXT, {"west": 3, "east": 0})
    desk.send(morning(NEXT))
    desk.ledger.withdraw(layer, "A. Rossi", "gauge 7 flooded", [])

    (update,) = desk.send(morning(NEXT, 7))

    assert said([update]) == [("Update", "west", "Severe")]
    assert [item.layer_id for item in update.basis] == ["toy-2026-03-10-l0-r1"]


def test_a_message_that_rests_on_a_withdrawn_map_is_replaced_though_the_level_is_the_same(desk: Desk) -> None:
    layer = desk.show(DAY, ORANGE)
    desk.send()
    desk.ledger.withdraw(layer, "A. Rossi", "gauge 7 flooded", [])
    desk.show(DAY, ORANGE)

    (update,) = desk.send(morning(DAY, 7))

    assert update.kind == "Update"
    assert [item.layer_id for item in update.basis] == ["toy-2026-03-10-l0-r2"]


def test_a_model_that_may_no_longer_warn_ends_a_thread_without_an_all_clear(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.send()
    desk.show(NEXT, GREEN, may_warn=False)

    (cancel,) = desk.send(morning(NEXT))

    assert cancel.kind == "Cancel"
    assert "no longer assessed" in cancel.infos[0].headline
    assert "no all-clear" in cancel.infos[0].description


def test_no_message_claims_that_all_is_clear(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.send()
    desk.show(DAY, GREEN)
    (cancel,) = desk.send(morning(DAY, 7))

    assert texts_of(read_valid(cap_xml(cancel)), "info/responseType") == ["Monitor"]
    assert cancel.infos[0].certainty == "Unknown"


def test_another_status_ends_the_thread_and_begins_one_that_its_readers_have_seen_from_the_start(
    desk: Desk,
) -> None:
    desk.show(DAY, ORANGE)
    desk.send()
    desk.use(CAP + 'status = "Test"\n')

    cancel, alert = desk.send(morning(DAY, 7))

    assert (cancel.kind, cancel.status) == ("Cancel", "Draft")
    assert (alert.kind, alert.status, alert.references) == ("Alert", "Test", ())


def test_a_thread_is_cancelled_by_the_sender_who_began_it(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.send()
    desk.use(CAP.replace("landslides@", "warnings@"))

    cancel, alert = desk.send(morning(DAY, 7))

    assert (cancel.kind, cancel.sender) == ("Cancel", "landslides@example.org")
    assert (alert.kind, alert.sender) == ("Alert", "warnings@example.org")


def test_without_a_cap_section_nothing_is_sent(desk: Desk) -> None:
    desk.use("")
    desk.show(DAY, ORANGE)

    assert desk.send() == []


# --- forecasts ---


def test_a_forecast_warns_of_its_own_day_in_the_zones_thread(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.show(NEXT, {"west": 3, "east": 1}, lead=1, valid_to=morning(NEXT, 0) + timedelta(days=1))

    east, west = desk.send()

    assert [(info.severity, info.urgency) for info in west.infos] == [
        ("Severe", "Expected"),
        ("Extreme", "Future"),
    ]
    assert [(info.severity, info.urgency) for info in east.infos] == [("Moderate", "Future")]
    assert east.infos[0].onset == morning(NEXT, 0)
    assert "made on 2026-03-10" in east.infos[0].description


def test_a_forecast_that_came_true_goes_on_in_the_same_thread(desk: Desk) -> None:
    desk.show(DAY, GREEN)
    desk.show(NEXT, ORANGE, lead=1)
    (alert,) = desk.send()
    desk.show(NEXT, ORANGE)

    (update,) = desk.send(morning(NEXT))

    assert update.thread == alert.thread
    assert [info.urgency for info in update.infos] == ["Expected"]


def test_a_forecast_that_did_not_come_true_ends_with_the_map_of_its_day(desk: Desk) -> None:
    desk.show(DAY, GREEN)
    desk.show(NEXT, ORANGE, lead=1)
    desk.send()
    desk.show(NEXT, GREEN)

    (cancel,) = desk.send(morning(NEXT))

    assert (cancel.kind, cancel.infos[0].urgency) == ("Cancel", "Past")


def test_a_forecast_whose_day_came_without_a_map_stands_as_the_last_known(desk: Desk) -> None:
    desk.show(DAY, GREEN)
    desk.show(NEXT, ORANGE, lead=1)
    desk.send()

    for hour in range(72):
        desk.send(morning(NEXT) + timedelta(hours=hour))

    (stands,) = desk.ledger.cap.last_of_open_threads()
    assert stands.basis[0].last_known
    assert stands.expires > desk.clock()


def test_a_forecast_stands_while_its_day_is_not_known_and_ends_with_the_map_of_a_later_one(
    desk: Desk,
) -> None:
    desk.show(DAY, {"west": None, "east": 0})
    desk.show(NEXT, ORANGE, lead=1)
    desk.send()
    desk.show(NEXT, {"west": None, "east": 0})
    (stands,) = desk.send(morning(NEXT))
    desk.show(NEXT + timedelta(days=1), {"west": None, "east": 0})
    (cancel,) = desk.send(morning(NEXT + timedelta(days=1)))

    assert (stands.kind, stands.basis[0].last_known) == ("Update", True)
    assert cancel.kind == "Cancel"
    assert "no all-clear" in (cancel.note or "")


days = st.lists(
    st.tuples(
        st.fixed_dictionaries({"west": st.sampled_from([None, 0, 1, 2, 3])}),
        st.sampled_from(["map", "no map", "withdraw"]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days=days)
def test_whatever_happens_threads_are_chains_and_only_a_known_low_level_or_a_person_ends_one(
    toy_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    days: list[tuple[dict[str, int | None], str]],
) -> None:
    desk = open_desk(toy_template, tmp_path_factory.mktemp("desk") / "desk")
    with desk.ledger:
        for number, (levels, act) in enumerate(days):
            day = DAY + timedelta(days=number)
            desk.clock.now = morning(day)
            if act == "map":
                desk.show(day, levels)
            latest = desk.ledger.latest()
            if act == "withdraw" and latest is not None:
                desk.ledger.withdraw(latest, "A", "B", [])
            for hour in (6, 12, 23):
                made = desk.send(morning(day, hour))
                assert desk.send() == []
                latest = desk.ledger.latest()
                known = latest is not None and latest.warnings[0].level == 0
                assert known or act == "withdraw" or all(message.kind != "Cancel" for message in made)
        threads: dict[str, list[CapMessage]] = {}
        for message in desk.sent:
            read_valid(cap_xml(message))
            threads.setdefault(message.thread, []).append(message)
        for thread in threads.values():
            assert thread[0].kind == "Alert"
            assert {message.kind for message in thread[1:-1]} <= {"Update"}
            for index, message in enumerate(thread):
                assert [item.identifier for item in message.references] == [
                    earlier.identifier for earlier in thread[:index]
                ]
        assert len({message.identifier for message in desk.sent}) == len(desk.sent)
