"""A small ensemble: the same recipe under several seeds, whose spread is the map's uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from service.errors import SettingsError
from trainer.dataset import Dataset, Indices
from trainer.models.base import Fitted, Job, Recipe, predict_rows

_ALIKE = 1e-6  # of susceptibility


def fit_ensemble(
    recipe: Recipe, data: Dataset, train: Indices, validation: Indices, job: Job, members: int
) -> list[Fitted]:
    """Return the main model, of the job's seed, and `members` more, of the seeds that follow it.

    Each has a folder of its own under the job's checkpoint, so a run that was killed goes on with the member
    it was at. `progress` counts the models' steps as one course. Raises what the recipe raises, SettingsError
    where seeds change nothing: a spread of 0 everywhere would pass for certainty.
    """
    fitted = []
    for number in range(members + 1):
        progress = None
        if job.progress is not None:
            progress = _part(job.progress, number, members + 1)
        folder = None if job.checkpoint is None else job.checkpoint / f"member-{number}"
        own = replace(job, seed=job.seed + number, checkpoint=folder, progress=progress)
        fitted.append(recipe.fit(data, train, validation, own))
    if members:
        main, *others = (predict_rows(one, data, validation) for one in fitted)
        if all(np.allclose(main, other, rtol=0, atol=_ALIKE) for other in others):
            raise SettingsError(
                f"{recipe.title} comes out the same under every seed, so the spread of {members} members "
                "would be 0 everywhere and say nothing of how sure it is; set members = 0, or take another "
                "model"
            )
    return fitted


def _part(progress: Callable[[int, int], None], number: int, parts: int) -> Callable[[int, int], None]:
    return lambda done, total: progress(number * total + done, parts * total)
