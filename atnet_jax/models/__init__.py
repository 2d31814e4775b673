"""The methods: one module a method, found by its name.

A method's module defines either

* `Model`: a Flax Linen module whose `__call__(inputs, train, weight)` gives logits `[batch, 3]`.
  Logits that it sows into the collection "auxiliary" while training add a loss of their own. It may
  have methods, decorated with `flax.linen.nowrap`, in place of what all share:

  * `prepare(clip, flow, image_size)` and `input_shapes(image_size)`: what it reads of a
    `PreparedClip`, by name, computed once a clip with NumPy and kept; and the shapes of these
    arrays, without the clip. Without them it reads what INPUTS names as it was prepared;
  * `augment(key, inputs)`: what happens to a batch in training (otherwise: to "apex" alone, see
    `atnet_jax.augment`);
  * `loss(outputs, labels)`: of each clip (otherwise: cross-entropy after softmax);

* or `Features`: a frozen dataclass whose `__call__(clip, flow)` gives a clip's features, which an
  SVM classifies (`atnet_jax.features`), its own if it has a method `machine()`;

whose fields are the method's options (`config.options`), their defaults those of the release; and

* `INPUTS`: what it reads of a clip, some of `atnet_jax.data.INPUTS`.

It may say more of itself:

* `RECIPE`: where its training differs from the default of `atnet_jax.config`;
* `TITLE`: its name in tables;
* `PAPER_ROW`: its row in the paper's tables;
* `PUBLISHED`: what its own publication says of it (`atnet_jax.published.Published`);
* `DEVIATIONS`: sentences on where it differs from its publication, or where that is silent;
* `PRESETS`, if it has named settings: name → (options, row in the paper's tables or None).
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from atnet_jax.errors import UserError
from atnet_jax.published import Published


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
    preset = preset_of(name, chosen)
    module = load(name)
    return getattr(module, "PAPER_ROW", None) if preset is None else module.PRESETS[preset][1]


def preset_of(name: str, chosen: Mapping[str, Any]) -> str | None:
    """The name of the setting that these options of a method are, or None.

    Raises:
      UserError: there is no such method.
    """
    for preset, (own, _) in getattr(load(name), "PRESETS", {}).items():
        if {**options(name), **own} == dict(chosen):
            return preset
    return None


def title(name: str, chosen: Mapping[str, Any] | None = None) -> str:
    """What tables call a method, with these options or whichever.

    Raises:
      UserError: there is no such method.
    """
    chosen = options(name) if chosen is None else chosen
    own = getattr(load(name), "TITLE", name)
    preset = preset_of(name, chosen)
    return paper_row(name, chosen) or (own if preset is None else f"{own} ({preset})")


def published(name: str) -> Published | None:
    """What a method's own publication says of it on the composite.

    Raises:
      UserError: there is no such method.
    """
    return getattr(load(name), "PUBLISHED", None)


def deviations(name: str) -> tuple[str, ...]:
    """Where a method differs from its publication, or where that is silent.

    Raises:
      UserError: there is no such method.
    """
    return getattr(load(name), "DEVIATIONS", ())


def recipe(name: str) -> Mapping[str, Any]:
    """Where a method's training differs from the default.

    Raises:
      UserError: there is no such method.
    """
    return getattr(load(name), "RECIPE", {})


def _blueprint(name: str) -> Any:
    module = load(name)
    return module.Model if is_network(name) else module.Features
