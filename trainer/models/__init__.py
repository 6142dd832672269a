"""The models: one file each, found by their file names.

names() -> ("bernoulli_nb", "cnn_dnn", ...)
recipe_of("random_forest", {"trees": 300}) -> Recipe
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from service.errors import SettingsError
from trainer.models.base import Recipe

# Not models: what they share.
_SHARED = ("base",)


def names() -> tuple[str, ...]:
    """Return the models' names, sorted; nothing is imported for it."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name not in _SHARED and not name.startswith("_")))


def recipe_class(name: str) -> type[Recipe]:
    """Return a model's recipe class. Raises SettingsError that lists the names there are."""
    if name not in names():
        raise SettingsError(f"no model is called {name!r}; there are: {', '.join(names())}")
    found: type[Recipe] = import_module(f"{__name__}.{name}").RECIPE
    return found


def recipe_of(name: str, hyperparameters: Mapping[str, Any] | None = None) -> Recipe:
    """Return a model with its hyperparameters. Raises SettingsError that names each wrong one."""
    chosen = recipe_class(name)
    try:
        return chosen.model_validate(dict(hyperparameters or {}))
    except ValidationError as error:
        lines = [f"  models.{name}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsError("the settings cannot be used:\n" + "\n".join(lines)) from error
