"""The methods: one module a method, found by its name.

A method's module defines

* `Model`: a Flax Linen module whose `__call__(inputs, train, weight)` gives logits `[batch, 3]`;
  its fields are the options that `config.options` offers, their defaults those of the release.
  Logits that it sows into the collection "auxiliary" while training add a loss of their own;
* `INPUTS`: which of the prepared features it reads: "apex", "adm", "flow_map";
* `RECIPE`: where its training differs from the default of `atnet_jax.config`;
* `PAPER_ROW`: its row in the paper's tables, or None.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from atnet_jax.errors import UserError


def names() -> list[str]:
    """All methods' names."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def load(name: str) -> ModuleType:
    """The module of the method called `name`.

    Raises:
      UserError: there is no such method.
    """
    if name not in names():
        raise UserError(f"No model is called {name!r}. The models are: {', '.join(names())}.")
    return importlib.import_module(f"{__name__}.{name}")


def build(name: str, chosen: Mapping[str, Any]) -> Any:
    """The method's network, a Flax module, with the options chosen.

    Raises:
      UserError: there is no such method, or they are another method's options.
    """
    known = options(name)
    if set(chosen) != set(known):
        raise UserError(
            f"The method {name!r} has the options {', '.join(known) or '(none)'}, not"
            f" {', '.join(chosen) or '(none)'}. Name the method with the configuration, as in"
            f" --config=configs/cde.py:{name}, not with --config.model."
        )
    return load(name).Model(**chosen)


def options(name: str) -> dict[str, Any]:
    """The options of a method and their defaults: the fields of its `Model`.

    Raises:
      UserError: there is no such method.
    """
    fields = dataclasses.fields(load(name).Model)
    return {field.name: field.default for field in fields if field.name not in ("parent", "name")}
