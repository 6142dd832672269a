"""What detectors found: received once, decided on by people, never deleted; the event follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import UsageError
from service.ledger import Ledger
from tests.fix_inventory import DETECTOR, SENSED, STEP, event, findings, outline, square
from tests.fix_region import Clock

DAY = date(2023, 5, 16)
OTHER = replace(DETECTOR, name="deeplab", digest="e" * 64)
WHO = ("A. Rossi", "picture")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "data" / "ledger.sqlite", Clock()) as opened:
        yield opened


def test_what_was_found_comes_back_as_it_was_received(ledger: Ledger) -> None:
    given = findings(folder=ledger.path.parent / "detections", substituted={"B10": "mean"})
    assert ledger.detections.receive(given) == 2

    (scene,) = ledger.detections.scenes()
    assert (scene.scene, scene.sensed_on, scene.after, scene.detector) == ("a", SENSED, given.after, DETECTOR)
    assert (scene.seen, scene.seen_share, scene.folder) == (given.seen, given.seen_share, given.folder)
    assert (scene.substituted, scene.detected_at) == (given.substituted, given.detected_at)
    assert (scene.proposed, scene.accepted, scene.rejected, scene.reviewed_at) == (2, 0, 0, None)
    one, _ = ledger.detections.all()
    assert (one.uid, one.outline, one.state) == ("a-0", given.detections[0].outline, "proposed")
    assert ledger.detections.folders() == {given.folder}


def test_a_scene_is_received_once_from_each_detector(ledger: Ledger) -> None:
    assert ledger.detections.receive(findings()) == 2
    assert ledger.detections.receive(findings(outlines=3)) == 0
    assert ledger.detections.receive(findings(outlines=[outline(0, "b")], detector=OTHER)) == 1

    assert [scene.detector.name for scene in ledger.detections.scenes()] == ["unet", "deeplab"]
    assert ledger.detections.is_known("a", DETECTOR.digest)
    assert not ledger.detections.is_known("b", DETECTOR.digest)


def test_receiving_again_leaves_decisions_as_they_are(ledger: Ledger) -> None:
    ledger.detections.receive(findings())
    ledger.detections.decide(1, "rejected", *WHO)
    ledger.detections.receive(findings())
    assert [item.state for item in ledger.detections.all()] == ["rejected", "proposed"]


def test_an_accepted_detection_is_an_event_of_the_days_since_its_ground_was_last_clear(
    ledger: Ledger,
) -> None:
    ledger.detections.receive(findings())
    ledger.detections.decide(2, "accepted", *WHO)

    (found,) = ledger.events.all()
    assert (found.uid, found.source, found.kind) == ("a-1", "detected", "landslide")
    assert (found.day_from, found.day) == (SENSED - timedelta(days=4), SENSED)
    assert (found.scene, found.detector, found.confidence) == ("a", DETECTOR.words, 0.51)
    assert found.outline == square(11 + 2 * STEP, 44)
    # Half the diagonal of a square of 80 x 111 m.
    assert found.accuracy_m == pytest.approx(68.5, abs=0.5)
    assert [(act.act, act.subject) for act in ledger.journal()] == [("accept", "detection a-1")]


def test_whoever_knows_the_day_says_it(ledger: Ledger) -> None:
    ledger.detections.receive(findings(after=None))
    with pytest.raises(UsageError, match=r"--day when it happened"):
        ledger.detections.decide(1, "accepted", *WHO)
    with pytest.raises(UsageError, match=r"was seen on 2023-05-23, before 2023-05-24"):
        ledger.detections.decide(1, "accepted", *WHO, day=SENSED + timedelta(days=1))
    with pytest.raises(UsageError, match="did not happen after"):
        ledger.detections.decide(1, "accepted", *WHO, after=SENSED)
    assert ledger.events.all() == []
    assert ledger.journal() == []

    ledger.detections.decide(1, "accepted", *WHO, day=DAY)
    ledger.detections.decide(2, "accepted", *WHO, after=DAY)
    assert [(item.day_from, item.day) for item in ledger.events.all()] == [
        (DAY, DAY), (DAY + timedelta(days=1), SENSED),
    ]  # fmt: skip


def test_a_day_may_be_corrected_and_the_earlier_one_stays_on_record(ledger: Ledger) -> None:
    ledger.detections.receive(findings())
    ledger.detections.decide(1, "accepted", *WHO)
    before = ledger.clock()
    ledger.detections.decide(1, "accepted", "B. Neri", "the road log says so", day=DAY + timedelta(days=4))

    assert [item.day_from for item in ledger.events.all()] == [DAY + timedelta(days=4)]
    assert [item.day_from for item in ledger.events.all(as_of=before)] == [SENSED - timedelta(days=4)]


def test_ground_under_cloud_in_the_scene_before_was_not_clear_then(ledger: Ledger) -> None:
    """The scene before saw the first outline's ground and not the second's."""
    older, before = date(2023, 5, 3), date(2023, 5, 18)
    ledger.detections.receive(findings("older", 0, sensed_on=older, after=None))
    ledger.detections.receive(
        findings("before", 0, sensed_on=before, after=older, seen=square(10.9, 43.95, 0.1015))
    )
    ledger.detections.receive(findings(after=before))

    ledger.detections.decide_all([1, 2], "accepted", *WHO)
    assert {item.uid: item.day_from for item in ledger.events.all()} == {
        "a-0": before + timedelta(days=1),
        "a-1": older + timedelta(days=1),
    }


def test_a_changed_decision_retracts_the_event_and_nothing_is_deleted(ledger: Ledger) -> None:
    ledger.detections.receive(findings())
    ledger.detections.decide(1, "accepted", *WHO)
    ledger.detections.decide(1, "rejected", "B. Neri", "a quarry")
    assert ledger.events.all() == []
    assert len(ledger.detections.all()) == 2

    ledger.detections.decide(1, "accepted", "B. Neri", "no quarry")
    assert [item.uid for item in ledger.events.all()] == ["a-0"]
    assert [act.act for act in ledger.journal()] == ["accept", "reject", "accept"]
    with pytest.raises(UsageError, match=r"accepted already, by B\. Neri: no quarry"):
        ledger.detections.decide(1, "accepted", *WHO)


def test_several_are_decided_all_or_none(ledger: Ledger) -> None:
    ledger.detections.receive(findings(outlines=3))
    with pytest.raises(UsageError, match="no detection 9"):
        ledger.detections.decide_all([1, 2, 9], "accepted", *WHO)
    assert ledger.detections.counts() == {"proposed": 3, "accepted": 0, "rejected": 0}
    assert ledger.events.all() == []


def test_a_rejected_detection_has_no_day(ledger: Ledger) -> None:
    ledger.detections.receive(findings())
    with pytest.raises(UsageError, match="no day"):
        ledger.detections.decide(1, "rejected", *WHO, day=DAY)


def test_what_another_detector_found_again_is_pointed_out(ledger: Ledger) -> None:
    ledger.detections.receive(findings(outlines=1))
    shifted = outline(0, "b", x=11.0 + STEP * 0.4)
    ledger.detections.receive(findings(outlines=[shifted], detector=OTHER))
    beside = outline(1, "b", x=11.0 + STEP * 0.6)
    ledger.detections.receive(findings("c", [beside], detector=OTHER))
    ledger.detections.decide(1, "accepted", *WHO)

    assert [item.uid for item in ledger.detections.already(ledger.detections.get(2))] == ["a-0"]
    assert ledger.detections.already(ledger.detections.get(3)) == [], "they share less than half"
    with pytest.raises(UsageError, match=r"a-0 \(detected, 2023-05-23\); accept it with --again"):
        ledger.detections.decide(2, "accepted", *WHO)
    assert ledger.detections.get(2).state == "proposed"
    ledger.detections.decide(2, "accepted", *WHO, again=True)
    assert len(ledger.events.all()) == 2


def test_a_small_outline_inside_a_large_known_one_is_pointed_out(ledger: Ledger) -> None:
    ledger.events.add(event(outline=square(10.99, 43.99, 0.02), day_from=SENSED, day=SENSED))
    ledger.detections.receive(findings(outlines=1))
    assert [item.uid for item in ledger.detections.already(ledger.detections.get(1))] == ["e"]


def test_an_old_scar_that_is_seen_again_is_pointed_out_and_a_later_slide_is_not(ledger: Ledger) -> None:
    ledger.events.add(event("old", outline=square(11, 44), day_from=date(2020, 1, 1), day=date(2020, 1, 1)))
    later = SENSED + timedelta(days=30)
    ledger.events.add(event("later", outline=square(11, 44), day_from=later, day=later))
    ledger.detections.receive(findings(outlines=1))
    assert [item.uid for item in ledger.detections.already(ledger.detections.get(1))] == ["old"]


def test_a_report_at_the_same_place_and_time_is_pointed_out(ledger: Ledger) -> None:
    ledger.events.add(event("near", day_from=SENSED, day=SENSED, lon=11.0014, accuracy_m=50))
    ledger.events.add(event("far", day_from=SENSED, day=SENSED, lon=11.0020, accuracy_m=50))
    ledger.events.add(event("long ago", day_from=date(2022, 1, 1), day=date(2022, 1, 1)))
    ledger.detections.receive(findings(outlines=1))
    assert [item.uid for item in ledger.detections.already(ledger.detections.get(1))] == ["near"]


def test_the_newer_of_two_scenes_does_not_make_a_second_landslide_of_an_older_scar(ledger: Ledger) -> None:
    """Both scenes show it; whoever begins with the newer one is told of the older one's outline."""
    later = SENSED + timedelta(days=5)
    ledger.detections.receive(findings(outlines=1))
    ledger.detections.receive(findings("b", 1, sensed_on=later, after=SENSED))
    with pytest.raises(UsageError, match="detection 1 drew in the scene of 2023-05-23 already"):
        ledger.detections.decide(2, "accepted", *WHO)
    assert ledger.events.all() == []

    ledger.detections.decide(1, "accepted", *WHO)
    with pytest.raises(UsageError, match="in the inventory already, as a-0"):
        ledger.detections.decide(2, "accepted", *WHO)
    assert [item.day for item in ledger.events.all()] == [SENSED]


def test_an_earlier_outline_that_was_rejected_and_a_stated_day_stand_in_nobodys_way(ledger: Ledger) -> None:
    later = SENSED + timedelta(days=5)
    ledger.detections.receive(findings())
    ledger.detections.receive(findings("b", 2, sensed_on=later, after=SENSED))
    ledger.detections.decide(1, "rejected", *WHO)
    ledger.detections.decide(3, "accepted", *WHO)
    ledger.detections.decide(4, "accepted", *WHO, day=later)
    assert [item.uid for item in ledger.events.all()] == ["b-0", "b-1"]


def test_a_review_is_closed_when_all_is_decided_and_names_what_is_not(ledger: Ledger) -> None:
    ledger.detections.receive(findings(outlines=3))
    ledger.detections.decide(2, "rejected", *WHO)
    with pytest.raises(UsageError, match="2 detections of scene 1 wait for a decision: 1, 3;"):
        ledger.detections.close(1, *WHO)

    ledger.detections.decide_all([1, 3], "rejected", *WHO)
    closed = ledger.detections.close(1, "B. Neri", "all of it read")
    assert (closed.by, closed.reason) == ("B. Neri", "all of it read")
    assert ledger.detections.scenes(open_only=True) == []
    with pytest.raises(UsageError, match=r"closed already, by B\. Neri"):
        ledger.detections.close(1, *WHO)
    assert ledger.detections.reopen(1, *WHO).reviewed_at is None
    with pytest.raises(UsageError, match="is open"):
        ledger.detections.reopen(1, *WHO)
    assert [act.act for act in ledger.journal()][-2:] == ["close", "reopen"]


def test_the_days_of_undecided_outlines_are_cited(ledger: Ledger) -> None:
    ledger.detections.receive(findings(outlines=1, after=SENSED - timedelta(days=2)))
    assert ledger.detections.days() == {SENSED - timedelta(days=1), SENSED}
    ledger.detections.decide(1, "rejected", *WHO)
    assert ledger.detections.days() == set()


def test_the_scene_before_is_the_newest_that_saw_some_of_the_ground(ledger: Ledger) -> None:
    ledger.detections.receive(findings("far", 0, sensed_on=DAY + timedelta(days=1), seen=square(20, 44)))
    ledger.detections.receive(findings("near", 0, sensed_on=DAY))
    assert ledger.detections.scene_before(SENSED, square(11, 44)) == DAY
    assert ledger.detections.scene_before(DAY, square(11, 44)) is None


def test_synthetic_stays_synthetic(ledger: Ledger) -> None:
    ledger.detections.receive(findings(outlines=1, synthetic=True))
    ledger.detections.decide(1, "accepted", *WHO)
    assert ledger.detections.get(1).synthetic
    assert "SYNTHETIC" in (ledger.events.all()[0].detector or "")


def test_a_ledger_that_moved_with_its_folder_finds_its_pictures(ledger: Ledger, tmp_path: Path) -> None:
    ledger.detections.receive(findings(folder=ledger.path.parent / "detections"))
    ledger.close()
    moved = ledger.path.parent.rename(tmp_path / "elsewhere")
    with Ledger(moved / "ledger.sqlite", Clock()) as again:
        assert again.detections.scene(1).folder == moved / "detections" / "a"


SCENES = [
    findings("a", 2, after=None),
    findings("b", 1, sensed_on=SENSED + timedelta(days=5), after=None),
    findings("c", [outline(5, "c")], sensed_on=SENSED - timedelta(days=5), after=None),
]


@settings(max_examples=12, deadline=None)  # a ledger for each
@given(order=st.permutations(range(3)), repeats=st.lists(st.integers(0, 2), max_size=4))
def test_the_order_in_which_scenes_come_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], repeats: list[int]
) -> None:
    with Ledger(tmp_path_factory.mktemp("order") / "ledger.sqlite", Clock()) as ledger:
        for index in (*order, *repeats):
            ledger.detections.receive(SCENES[index])
        for item in sorted(ledger.detections.all(), key=lambda item: item.uid):
            if item.scene != "c":
                ledger.detections.decide(item.number, "accepted", *WHO, again=True)

        assert {item.uid: (item.day_from, item.day) for item in ledger.events.all()} == {
            "a-0": (SENSED - timedelta(days=4), SENSED),
            "a-1": (SENSED - timedelta(days=4), SENSED),
            "b-0": (SENSED + timedelta(days=1), SENSED + timedelta(days=5)),
        }
        assert ledger.detections.counts() == {"proposed": 1, "accepted": 3, "rejected": 0}
