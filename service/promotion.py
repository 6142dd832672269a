"""Promotion: another bundle serves in place of the one that the settings name, with a record of why.

    1. prepare   the bundle is proven and fits the region; what is known of both is put side by side
    2. promote   it is copied to bundles/<digest16>/, its spatial state is taken over from the challenger,
                 and last, in one transaction, the row and the journal say that it serves

Killed at any instant, either nothing has changed or all of it has: a copy that no row names serves nobody.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import structlog

from exporters.verification import Verification
from service.bundle import Bundle, check_region, read_manifest
from service.bundle import verify as verify_bundle
from service.challenger import challenger_folder
from service.challenger_compare import agreement_of, compare_days
from service.errors import BundleError, ColluviumError, UsageError
from service.files import remove_leftovers, replacing_folder
from service.ledger import Ledger
from service.ledger_promotions import Promotion
from service.lock import exclusive
from service.manifest import MANIFEST_NAME, Manifest
from service.progress import ProgressCallback
from service.promotion_evidence import Evidence, Judged, Shared, Which
from service.region import open_region
from service.serving import BUNDLES, serving_bundle
from service.settings import Settings
from service.snapshot import LEDGER
from service.state import AHEAD, whole_record
from service.state_keep import state_digests
from service.workshop import ledger_path, open_stack

_SHORT = 16  # hex digits of a digest that name a folder

log = structlog.get_logger()


@dataclass(frozen=True)
class Candidate:
    """A bundle that was proven, and what speaks for and against it."""

    path: Path
    manifest: Manifest
    digest: str
    states: tuple[str, ...]  # digests of the spatial states that it needs here
    evidence: Evidence
    objections: tuple[str, ...]  # for which it is not promoted without force


@dataclass(frozen=True)
class Promoted:
    """What was done."""

    promotion: Promotion
    states_taken: int  # over from the challenger; the others are built by the next refresh
    states: int


def prepare(
    settings: Settings,
    path: Path | None,
    clock: Callable[[], datetime],
    *,
    samples: int = 10_000,
    progress: ProgressCallback | None = None,
) -> Candidate:
    """Prove a bundle (default: bundle.challenger), and put together what is known of it and of what serves.

    Raises UsageError where there is none to promote or it serves already, BundleError where it is refused,
    FactorError where the region's stack lacks one of its factors.
    """
    source = path or settings.bundle.challenger
    if source is None:
        raise UsageError("name the folder of a bundle, or set bundle.challenger in the settings")
    manifest, digest = read_manifest(source)
    proof = verify_bundle(source, samples=samples)
    if not proof.passed:
        raise BundleError(
            f"{source} does not pass its own proof; 'colluvium bundle verify {source}' says where"
        )
    may_warn = check_region(manifest, settings.region.id, settings.bundle.allow_transfer)
    region = open_region(settings)
    if manifest.kind == "factored" and manifest.forcing_cell != settings.grid.forcing_cell:
        raise BundleError(
            f"{source} is of forcing cells of {manifest.forcing_cell} cells, the region's have "
            f"{settings.grid.forcing_cell} (grid.forcing_cell); train it with the region's settings"
        )
    with open_stack(settings, region) as stack:
        stack.index([factor.name for factor in manifest.factors])
        states = tuple(state_digests(region, stack, manifest, settings.inference.min_patch_observed))
    which = Which(name=manifest.name, version=manifest.version, digest=digest, may_warn=may_warn)
    own = challenger_folder(settings, digest) / LEDGER
    with Ledger(ledger_path(settings), clock, make=False) as shown, Ledger(own, clock, make=False) as other:
        champion = _which(settings, serving_bundle(settings, shown))
        if champion is not None and champion.digest == digest:
            raise UsageError(f"{source} serves already ({digest[:_SHORT]}); there is nothing to promote")
        agreement = agreement_of(compare_days(shown, other, progress=progress))
        notes: list[str] = []
        records: dict[str, Verification | None] = {}
        for of, bundle in (("display", champion), ("challenger", which)):
            found = shown.verifications.newest(of)  # type: ignore[arg-type]
            if found is not None and (bundle is None or bundle.digest[:8] not in found.model):
                notes.append(f"the last verification ({of}) is of another model, {found.model}")
                found = found if of == "display" else None
            records[of] = found
    display, beside = records["display"], records["challenger"]
    objections = []
    if not agreement.days:
        objections.append(
            "it has no layer of a day that is on display, so nobody has seen what it makes: "
            "'colluvium challenger run' makes some"
        )
    if champion is not None and champion.may_warn and not may_warn:
        why = manifest.may_warn_reason if not manifest.may_warn else "it was trained for another region"
        objections.append(f"what serves may warn, and it may not ({why}): warnings would end")
    evidence = Evidence(
        bundle=which,
        instead=champion,
        display=Judged.of(display) if display is not None else None,
        challenger=Judged.of(beside) if beside is not None else None,
        shared=Shared.of(display, beside) if display is not None and beside is not None else None,
        agreement=agreement.to_json(),
        notes=tuple(notes),
    )
    return Candidate(source, manifest, digest, states, evidence, tuple(objections))


def promote(
    settings: Settings,
    candidate: Candidate,
    by: str,
    reason: str,
    clock: Callable[[], datetime],
    *,
    force: bool = False,
) -> Promoted:
    """Let the candidate serve from the next refresh on.

    Needs no lock of the region: a refresh that runs ends with the bundle that it began with. Raises
    UsageError for objections without `force`, or where another bundle serves since it was prepared;
    BundleError where the copy is not what was proven, LockedError beside another promotion.
    """
    if candidate.objections and not force:
        raise UsageError(
            f"{candidate.path} is not promoted: {'; '.join(candidate.objections)}. With --force it is, and "
            "the record says so"
        )
    with exclusive(settings.data_dir / "promote.lock", "colluvium bundle promote"):
        _refuse_changed(settings, candidate.evidence, clock)
        kept = _copy(settings, candidate.path, candidate.manifest, candidate.digest)
        taken = _take_states(settings, candidate)
        evidence = candidate.evidence.model_copy(update={"objections": candidate.objections})
        with Ledger(ledger_path(settings), clock) as ledger:
            promotion = ledger.promote(
                kept, candidate.digest, settings.bundle.path, by, reason, evidence.model_dump(mode="json")
            )
    return Promoted(promotion, taken, len(candidate.states))


def go_back(settings: Settings, by: str, reason: str, clock: Callable[[], datetime]) -> Promoted:
    """Let serve again what served before the last promotion; a second time undoes the first.

    Raises UsageError where no promotion is in force, BundleError where what served before is gone.
    """
    with (
        exclusive(settings.data_dir / "promote.lock", "colluvium bundle promote --back"),
        Ledger(ledger_path(settings), clock) as ledger,
    ):
        newest = ledger.promotions.in_force(settings.bundle.path)
        if newest is None:
            raise UsageError("no promotion is in force: the bundle of the settings serves")
        before = Evidence.model_validate(newest.evidence).instead
        if before is None:
            raise BundleError("the last promotion does not say what served before; promote it by its path")
        path = _find(settings, before.digest)
        Bundle.load(path)
        evidence = Evidence(bundle=before, instead=_which(settings, newest.path), back=True)
        promotion = ledger.promote(
            path, before.digest, settings.bundle.path, by, reason, evidence.model_dump(mode="json")
        )
    return Promoted(promotion, 0, 0)


def _refuse_changed(settings: Settings, evidence: Evidence, clock: Callable[[], datetime]) -> None:
    """Raise UsageError where what serves is not what the evidence compares with, and --back would lead to."""
    with Ledger(ledger_path(settings), clock, make=False) as ledger:
        serves = _which(settings, serving_bundle(settings, ledger))
    before, after = (which.digest if which is not None else None for which in (evidence.instead, serves))
    if before != after:
        raise UsageError(
            "another bundle serves than when the evidence was put together, so it says nothing about it; "
            "see 'colluvium bundle promotions', and promote again"
        )


def _which(settings: Settings, path: Path) -> Which | None:
    """Describe a bundle; None where it cannot be read, or may not serve here."""
    try:
        manifest, digest = read_manifest(path)
        may_warn = check_region(manifest, settings.region.id, settings.bundle.allow_transfer)
    except BundleError as error:
        log.warning("the bundle that serves cannot be read", reason=str(error))
        return None
    return Which(name=manifest.name, version=manifest.version, digest=digest, may_warn=may_warn)


def _find(settings: Settings, digest: str) -> Path:
    """Return where a bundle that served lies: the settings' own, one that was promoted, or as remembered."""
    places = [
        settings.bundle.path,
        settings.data_dir / BUNDLES / digest[:_SHORT],
        settings.data_dir / "history" / f"bundle-{digest[:_SHORT]}",
    ]
    for place in places:
        try:
            if read_manifest(place)[1] == digest:
                return place
        except BundleError:
            continue
    raise BundleError(
        f"the bundle {digest[:_SHORT]} that served before is in none of "
        f"{', '.join(map(str, places))}; promote another one by its path"
    )


def _copy(settings: Settings, source: Path, manifest: Manifest, digest: str) -> Path:
    """Copy the files that the manifest lists to bundles/<digest16>/; what is there and whole stays."""
    parent = settings.data_dir / BUNDLES
    target = parent / digest[:_SHORT]
    if parent.is_dir():
        remove_leftovers(parent)  # of a promotion that was killed
    if target.exists():
        try:
            Bundle.load(target)
            return target
        except BundleError:
            doomed = target.with_name(f".{uuid4().hex[:12]}.part")
            target.rename(doomed)
            shutil.rmtree(doomed)
    with replacing_folder(target) as temporary:
        for name in (MANIFEST_NAME, *manifest.files):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, temporary / name)
        if Bundle.load(temporary).digest != digest:
            raise BundleError(f"{source} was changed while it was copied; nothing is promoted, try again")
    return target


def _take_states(settings: Settings, candidate: Candidate) -> int:
    """Hard-link the challenger's spatial states, so that the next refresh builds none; return how many.

    A state that cannot be had so is no reason to fail: the next refresh builds it.
    """
    taken = 0
    for digest in candidate.states:
        source = challenger_folder(settings, candidate.digest) / "state" / digest[:_SHORT]
        target = settings.data_dir / "state" / digest[:_SHORT]
        if target.exists():
            taken += 1
            continue
        if whole_record(source, digest) is None:
            continue
        try:
            with replacing_folder(target) as temporary:
                (temporary / AHEAD).touch()  # first: no refresh of the bundle in use removes it half made
                for file in sorted(source.iterdir()):
                    if file.name != AHEAD:
                        os.link(file, temporary / file.name)
        except (OSError, ColluviumError) as error:  # another file system; a run that swept; a full disk
            log.warning("the challenger's state is not taken over", state=digest[:_SHORT], reason=str(error))
            continue
        taken += 1
    return taken
