"""A region's inputs brought up to date and opened, for whatever the trainer does with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import structlog

from service.errors import InputError
from service.factor_stack import FactorStack
from service.ingest import ingest
from service.lock import exclusive
from service.readings import Archive
from service.region import open_region
from service.settings import Settings
from service.workshop import archive_path, lock_path, reservoirs_of
from trainer.factors import derive
from trainer.region_dataset import Opened
from trainer.training_settings import TrainingSettings

_log = structlog.get_logger()


@contextmanager
def open_inputs(settings: Settings, wanted: TrainingSettings, purpose: str) -> Iterator[Opened]:
    """Hold the region's lock, derive factors, ingest the feeds, and yield everything open.

    A synthetic region's files are made where they are missing. Raises InputError where a feed fails: what
    is missing in training would be learned.
    """
    if wanted.synthetic is not None:
        make_synthetic(wanted)
    region = open_region(settings)
    with exclusive(lock_path(settings), purpose), ExitStack() as opened:
        derive(settings, region)
        archive = opened.enter_context(Archive(archive_path(settings)))
        stack = opened.enter_context(FactorStack.open(settings.stack_path, region.grid))
        report = ingest(settings.without_forecasts(), archive, datetime.now(UTC))
        if report.failed:
            raise InputError(
                f"no training without the feeds {', '.join(report.failed)}; see colluvium ingest"
            )
        yield Opened(settings, region, archive, stack, reservoirs_of(settings, region, stack))


def make_synthetic(wanted: TrainingSettings) -> None:
    """Write a made-up region's files beside its inventory, where that is missing."""
    if wanted.synthetic is None or wanted.inventory.file.exists():
        return
    folder = wanted.inventory.file.parent
    _log.info("making the synthetic region", folder=str(folder), seed=wanted.synthetic.seed)
    if wanted.synthetic.manner == "kerman":
        from trainer.synthetic.kerman import make_kerman, write_kerman

        write_kerman(make_kerman(wanted.synthetic.seed), folder)
        return
    from trainer.synthetic.region import make_region, write_region

    write_region(make_region(wanted.synthetic.seed), folder, landslides=True)
