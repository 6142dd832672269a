"""Promotion: which bundle serves is a decision with a name, a reason and evidence, and can be undone."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.api.site import Site
from service.backup import make_backup
from service.bundle import Bundle, read_manifest
from service.challenger import run_challenger
from service.check import run_checks
from service.cli import main_group
from service.errors import BundleError, FactorError, LockedError, Outcome, UsageError
from service.ledger import Ledger
from service.lock import exclusive
from service.promotion import Candidate, go_back, prepare, promote
from service.promotion_evidence import Evidence, Shared
from service.restore import restore_backup
from service.serving import BUNDLES, ended_promotion, serving_path
from service.shadow import default_work, make_shadow
from service.state_list import list_states
from service.status import read_status
from tests.fix_bundle import ToyNetwork, write_toy_bundle
from tests.fix_outcomes import inventory, judged, verification
from tests.fix_region import NOW, Clock, ToyRegion
from tests.service.fix_shown import DAYS, NEWEST, make_shown_region

_PASSED = {
    "passed": True, "largest_drop": 0.0, "scales": [0, 3], "mean_susceptibility": [0.1, 0.2], "samples": 1,
}  # fmt: skip
BY = ("A. Rossi", "it hit 31 of 36 landslides")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region with ten layers whose challenger has made the last two days; never changed by a test."""
    toy = make_shown_region(tmp_path_factory.mktemp("promoted") / "toy")
    write_toy_bundle(toy.folder / "other", ToyNetwork(gain=3.0, seed=5))
    text = toy.config.read_text("utf-8").replace('path = "bundle"', 'path = "bundle"\nchallenger = "other"')
    toy.config.write_text(text, "utf-8")
    run_challenger(toy.settings, toy.config, Clock(NOW + timedelta(hours=1)), since=DAYS[-2])
    return toy.folder


@pytest.fixture
def toy(template: Path, tmp_path: Path) -> ToyRegion:
    shutil.copytree(template, tmp_path / "toy", symlinks=True)
    return ToyRegion(tmp_path / "toy", Clock(NOW + timedelta(hours=2)))


def ready(toy: ToyRegion, path: Path | None = None) -> Candidate:
    return prepare(toy.settings, path, toy.clock, samples=64)


def digest_of(folder: Path) -> str:
    return read_manifest(folder)[1]


def may_warn(folder: Path) -> None:
    """Let a bundle of random weights claim that it may warn."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**manifest, "may_warn": True, "rain_test": _PASSED}), "utf-8")


# --- what is shown before ---


def test_the_evidence_puts_both_side_by_side(toy: ToyRegion) -> None:
    candidate = ready(toy)

    found = candidate.evidence
    assert found.bundle.digest == digest_of(toy.folder / "other")
    assert found.instead is not None
    assert found.instead.digest == digest_of(toy.folder / "bundle")
    assert found.agreement is not None
    assert found.agreement["days"] == 2
    assert 0 < found.agreement["class_changed_ratio"] < 1
    assert candidate.objections == ()
    assert "2 days" in "\n".join(found.to_lines())
    assert "not verified" in "\n".join(found.to_lines())


def test_hits_are_compared_over_the_landslides_that_both_verifications_decided(toy: ToyRegion) -> None:
    all_, few = inventory((11.6, 44.3), (11.61, 44.3), (11.62, 44.3)), slice(1, 2)
    outcomes = ("hit", "miss", "hit")
    on_display = [judged(one, outcome) for one, outcome in zip(all_, outcomes, strict=False)]
    by_other = [judged(one, "hit", hindsight=True) for one in all_[few]]
    digest = digest_of(toy.folder / "other")[:8]
    with toy.ledger() as ledger:
        ledger.verifications.keep(verification(on_display, digest="a"))
        ledger.verifications.keep(
            verification(by_other, of="challenger", model=f"other, version 1 ({digest})", digest="b")
        )

    found = ready(toy).evidence

    assert found.challenger is not None
    assert (found.challenger.hits, found.challenger.landslides) == (1, 1)
    assert found.shared == Shared(
        landslides=1, display_hits=0, challenger_hits=1, display_hindsight=0, challenger_hindsight=1
    )
    assert "of 1 landslides that both decided, 0 hit on display and 1" in "\n".join(found.to_lines())


def test_evidence_against_a_bundle_that_serves_no_more_promotes_nothing(toy: ToyRegion) -> None:
    late = ready(toy, write_toy_bundle(toy.folder / "third", ToyNetwork(gain=3.0, seed=9)))
    promote(toy.settings, ready(toy), *BY, toy.clock)

    with pytest.raises(UsageError, match="another bundle serves"):
        promote(toy.settings, late, *BY, toy.clock, force=True)

    with toy.ledger() as ledger:
        assert len(ledger.promotions.all()) == 1


def test_a_bundle_of_which_nobody_has_seen_a_layer_is_refused_without_force(toy: ToyRegion) -> None:
    unseen = write_toy_bundle(toy.folder / "unseen", ToyNetwork(gain=3.0, seed=9))
    candidate = ready(toy, unseen)

    with pytest.raises(UsageError, match="no layer of a day that is on display"):
        promote(toy.settings, candidate, *BY, toy.clock)
    done = promote(toy.settings, candidate, *BY, toy.clock, force=True)

    assert Evidence.model_validate(done.promotion.evidence).objections == candidate.objections != ()


def test_the_end_of_warnings_is_refused_without_force(toy: ToyRegion) -> None:
    may_warn(toy.folder / "bundle")

    with pytest.raises(UsageError, match="warnings would end"):
        promote(toy.settings, ready(toy), *BY, toy.clock)


@pytest.mark.parametrize("network", [ToyNetwork(k=16), ToyNetwork(factors=3)])
def test_a_bundle_that_does_not_fit_the_region_is_refused(toy: ToyRegion, network: ToyNetwork) -> None:
    stranger = write_toy_bundle(toy.folder / "stranger", network)

    with pytest.raises((BundleError, FactorError), match=r"forcing cells|has no f2"):
        ready(toy, stranger)


def test_a_damaged_bundle_and_the_one_that_serves_are_refused(toy: ToyRegion) -> None:
    with pytest.raises(UsageError, match="serves already"):
        ready(toy, toy.folder / "bundle")
    (toy.folder / "other" / "head.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match="not the file that was exported"):
        ready(toy)


# --- what it does ---


def test_it_serves_from_the_next_refresh_on_without_building_a_state(toy: ToyRegion) -> None:
    done = promote(toy.settings, ready(toy), *BY, toy.clock)
    built: list[int] = []

    with toy.ledger() as ledger:
        before = ledger.latest()
        acts = [(act.act, act.subject, act.by, act.reason) for act in ledger.journal()]
    assert acts == [("promote", f"bundle {done.promotion.digest[:16]}", *BY)]
    assert (done.states_taken, done.states) == (1, 1)
    from service.runs import run_days

    (made,) = run_days(
        toy.settings, toy.config, lambda _: [NEWEST], purpose="test", clock=toy.clock,
        on_state=lambda done, _: built.append(done),
    )  # fmt: skip

    assert before is not None
    assert made.outcome == Outcome.PUBLISHED
    assert made.layer is not None
    assert made.layer.model.digest == done.promotion.digest != before.model.digest
    assert built == []
    used = {row.digest for row in list_states(toy.settings, toy.clock) if row.in_use}
    assert used >= set(ready_states(toy))


def ready_states(toy: ToyRegion) -> list[str]:
    with toy.ledger() as ledger:
        latest = ledger.latest()
        assert latest is not None
        return [ledger.basis(latest.id)["state"]]


def test_it_serves_though_the_folder_that_it_came_from_goes(toy: ToyRegion) -> None:
    done = promote(toy.settings, ready(toy), *BY, toy.clock)
    shutil.rmtree(toy.folder / "other")

    (made,) = toy.refresh(NEWEST)

    assert made.layer is not None
    assert made.layer.model.digest == done.promotion.digest
    assert made.layer.notes == ()
    assert serving_path(toy.settings, toy.clock) == toy.data / BUNDLES / done.promotion.digest[:16]


def test_another_bundle_in_the_settings_ends_it_and_that_is_told(toy: ToyRegion) -> None:
    promote(toy.settings, ready(toy), *BY, toy.clock)
    third = write_toy_bundle(toy.folder / "third", ToyNetwork(gain=3.0, seed=7))
    text = toy.config.read_text("utf-8").replace('path = "bundle"', 'path = "third"')
    toy.config.write_text(text, "utf-8")

    (made,) = toy.refresh(NEWEST)

    assert made.layer is not None
    assert made.layer.model.digest == digest_of(third)
    with toy.ledger() as ledger:
        told = ended_promotion(toy.settings, ledger)
    assert told is not None
    assert "ended" in told
    (check,) = [one for one in run_checks(toy.settings, lambda *_: None) if one.name == "bundle"]
    assert check.state == "warn"
    assert told in check.message


def test_a_promoted_bundle_that_is_damaged_later_is_replaced_by_what_is_remembered(toy: ToyRegion) -> None:
    done = promote(toy.settings, ready(toy), *BY, toy.clock)
    toy.refresh(NEWEST)
    (done.promotion.path / "head.onnx").write_bytes(b"no graph")
    toy.set_rain({(NEWEST - timedelta(days=1), "north"): 50.0})
    toy.ingest()

    (made,) = toy.refresh(NEWEST)

    assert made.layer is not None
    assert made.layer.model.digest == done.promotion.digest
    assert any("was refused" in note for note in made.layer.notes)


def test_going_back_is_journaled_and_a_second_time_undoes_it(toy: ToyRegion) -> None:
    first = promote(toy.settings, ready(toy), *BY, toy.clock)

    go_back(toy.settings, "B. Bianchi", "it shouts", toy.clock)
    assert serving_path(toy.settings, toy.clock) == toy.settings.bundle.path
    again = go_back(toy.settings, "B. Bianchi", "it was right", toy.clock)

    assert again.promotion.digest == first.promotion.digest
    assert serving_path(toy.settings, toy.clock) == first.promotion.path
    with toy.ledger() as ledger:
        assert [act.reason for act in ledger.journal()] == [BY[1], "it shouts", "it was right"]


def test_going_back_finds_what_served_though_it_was_trained_over(toy: ToyRegion) -> None:
    was = digest_of(toy.folder / "bundle")
    promote(toy.settings, ready(toy), *BY, toy.clock)
    shutil.rmtree(toy.folder / "bundle")
    write_toy_bundle(toy.folder / "bundle", ToyNetwork(gain=3.0, seed=8))

    back = go_back(toy.settings, *BY, toy.clock)

    assert back.promotion.digest == was == digest_of(back.promotion.path)
    (made,) = toy.refresh(NEWEST)
    assert made.outcome == Outcome.UNCHANGED


def test_there_is_nothing_to_go_back_from_without_a_promotion(toy: ToyRegion) -> None:
    with pytest.raises(UsageError, match="no promotion is in force"):
        go_back(toy.settings, *BY, toy.clock)


# --- a kill, a second person, another moment, another machine ---


@pytest.mark.parametrize("where", ["service.promotion._copy", "service.promotion._take_states"])
def test_a_promotion_that_is_killed_changes_nothing_and_can_be_made_again(
    toy: ToyRegion, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = ready(toy)

    def dies(*_: object) -> None:
        (toy.data / BUNDLES / ".half.part").mkdir(parents=True)
        raise SystemError("killed")

    monkeypatch.setattr(where, dies)
    with pytest.raises(SystemError):
        promote(toy.settings, candidate, *BY, toy.clock)
    monkeypatch.undo()

    assert serving_path(toy.settings, toy.clock) == toy.settings.bundle.path
    with toy.ledger() as ledger:
        assert ledger.journal() == []
    assert toy.refresh(NEWEST)[0].outcome == Outcome.UNCHANGED
    done = promote(toy.settings, ready(toy), *BY, toy.clock)
    assert sorted(path.name for path in (toy.data / BUNDLES).iterdir()) == [done.promotion.digest[:16]]


def test_the_row_and_the_journal_are_written_together_or_not_at_all(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = ready(toy)

    def dies(*_: object) -> None:
        raise SystemError("killed")

    monkeypatch.setattr(Ledger, "_write_act", dies)
    with pytest.raises(SystemError):
        promote(toy.settings, candidate, *BY, toy.clock)
    monkeypatch.undo()

    with toy.ledger() as ledger:
        assert ledger.promotions.all() == []


def test_it_works_beside_a_refresh_and_not_beside_another_promotion(toy: ToyRegion) -> None:
    candidate = ready(toy)
    with exclusive(toy.data / "promote.lock", "B. Bianchi"), pytest.raises(LockedError, match="Bianchi"):
        promote(toy.settings, candidate, *BY, toy.clock)

    with exclusive(toy.data / "lock", "a refresh"):
        promote(toy.settings, candidate, *BY, toy.clock)


def test_a_replay_of_a_moment_before_it_is_made_with_what_served_then(toy: ToyRegion) -> None:
    before = toy.clock()
    promote(toy.settings, ready(toy), *BY, toy.clock)
    toy.refresh(NEWEST)

    (then,) = toy.refresh(NEWEST, as_of=before)
    (now,) = toy.refresh(NEWEST, as_of=toy.clock())

    assert then.layer is not None
    assert now.layer is not None
    assert then.layer.model.digest == digest_of(toy.folder / "bundle")
    assert now.layer.model.digest == digest_of(toy.folder / "other")


def test_the_shadow_tries_what_serves(toy: ToyRegion) -> None:
    done = promote(toy.settings, ready(toy), *BY, toy.clock)
    toy.refresh(*DAYS[-2:])

    report = make_shadow(toy.settings, toy.config, toy.clock, work=default_work(toy.settings), days=1)

    assert report.model.digest == done.promotion.digest
    assert report.same


def test_a_backup_holds_what_serves(toy: ToyRegion, tmp_path: Path) -> None:
    done = promote(toy.settings, ready(toy), *BY, toy.clock)
    toy.refresh(NEWEST)
    make_backup(toy.settings, tmp_path / "backup.tar", toy.clock)
    shutil.rmtree(toy.data)

    restore_backup(tmp_path / "backup.tar", toy.data, *BY, toy.clock)

    assert digest_of(serving_path(toy.settings, toy.clock)) == done.promotion.digest
    (made,) = toy.refresh(NEWEST)
    assert made.outcome == Outcome.UNCHANGED


# --- by hand ---


def test_the_commands_show_the_evidence_promote_list_and_go_back(toy: ToyRegion) -> None:
    def colluvium(*words: str) -> str:
        result = CliRunner().invoke(main_group, [*words, "-c", str(toy.config)], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    act = ("--by", BY[0], "--reason", BY[1])
    said = colluvium("bundle", "promote", *act, "--samples", "64")
    assert "agreement    2 days" in said
    assert "serves from the next refresh on" in said

    (row,) = json.loads(colluvium("bundle", "promotions", "--json"))["promotions"]
    assert row["in_force"] is True
    assert (row["by"], row["reason"]) == BY
    assert row["evidence"]["agreement"]["days"] == 2
    colluvium("bundle", "promote", "--back", *act)
    assert colluvium("bundle", "promotions").count("SERVES") == 1


# --- what answers ---


def test_a_running_page_answers_with_it_at_once_and_with_the_old_one_after_going_back(toy: ToyRegion) -> None:
    first = Bundle.load(toy.folder / "bundle")
    site = Site(toy.settings, toy.clock, first)
    assert site.bundle is first

    done = promote(toy.settings, ready(toy), *BY, toy.clock)
    assert site.bundle is not None
    assert site.bundle.digest == done.promotion.digest
    assert site.bundle is site.bundle

    go_back(toy.settings, *BY, toy.clock)
    assert site.bundle.digest == first.digest


def test_a_page_without_a_bundle_stays_without_one_until_one_is_promoted(toy: ToyRegion) -> None:
    site = Site(toy.settings, toy.clock, None)
    assert site.bundle is None

    promote(toy.settings, ready(toy), *BY, toy.clock)

    assert site.bundle is not None


def test_status_names_the_challenger_and_the_promotion(toy: ToyRegion) -> None:
    before = read_status(toy.settings, toy.clock())
    assert before.challenger is not None
    assert before.challenger.newest_day == NEWEST
    assert f"newest layer of {NEWEST}, not shown" in before.to_text()

    promote(toy.settings, ready(toy), *BY, toy.clock)

    after = read_status(toy.settings, toy.clock())
    assert BY[1] in after.promotion
    assert BY[1] in after.to_text()
    assert after.challenger is not None
    assert after.challenger.serves
    go_back(toy.settings, *BY, toy.clock)
    assert read_status(toy.settings, toy.clock()).promotion == ""
