"""The methods: one module a method, found by its name.

A method's module defines either

* `Model`: a Flax Linen module whose `__call__(inputs, train, weight)` gives logits `[batch, 3]`.
  Logits that it sows into the collection "auxiliary" while training add a loss of their own;
* or `Features`: a frozen dataclass whose `__call__(frames, flow)` gives a clip's features, which an
  SVM classifies (`atnet_jax.features`);

whose fields are the method's options (`config.options`), their defaults those of the release; and

* `INPUTS`: which of the prepared features it reads: "apex", "adm", "flow_map", "frames";
* `RECIPE`: where its training differs from the default of `atnet_jax.config`;
* `PAPER_ROW`: its row in the paper's tables, or None;
* `PRESETS`, if it has named settings: name → (options, row in the paper's tables).
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


def presets() -> dict[str, tuple[str, Mapping[str, Any]]]:
    """All named settings: name → (method, options)."""
    return {
        preset: (name, chosen)
        for name in names()
        for preset, (chosen, _) in getattr(load(name), "PRESETS", {}).items()
    }


def load(name: str) -> ModuleType:
    """The module of the method called `name`.

    Raises:
      UserError: there is no such method.
    """
    if name not in names():
        known = ", ".join([*names(), *presets()])
        raise UserError(f"No model is called {name!r}. The models are: {known}.")
    return importlib.import_module(f"{__name__}.{name}")


def is_network(name: str) -> bool:
    """Whether the method is a network, rather than features and an SVM.

    Raises:
      UserError: there is no such method.
    """
    return hasattr(load(name), "Model")


def build(name: str, chosen: Mapping[str, Any]) -> Any:
    """The method's network, a Flax module, or its features, with the options chosen.

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
    return _blueprint(name)(**chosen)


def options(name: str) -> dict[str, Any]:
    """The options of a method and their defaults.

    Raises:
      UserError: there is no such method.
    """
    fields = dataclasses.fields(_blueprint(name))
    return {field.name: field.default for field in fields if field.name not in ("parent", "name")}


def paper_row(name: str, chosen: Mapping[str, Any]) -> str | None:
    """The row of the paper's tables that a method with these options reproduces, or None.

    Raises:
      UserError: there is no such method.
    """
    module = load(name)
    for preset, row in getattr(module, "PRESETS", {}).values():
        if {**options(name), **preset} == dict(chosen):
            return row
    return module.PAPER_ROW


def _blueprint(name: str) -> Any:
    module = load(name)
    return module.Model if is_network(name) else module.Features
