"""The methods: one module a method, found by its name.

A method's module defines

* `Model`: a Flax Linen module whose `__call__(inputs, train, weight)` gives logits `[batch, 3]`;
* `INPUTS`: which of the prepared features it reads: "apex", "adm", "flow_map";
* `RECIPE`: where its training differs from the default of `atnet_jax.config`;
* `PAPER_ROW`: its row in the paper's tables, or None.
"""

import importlib
import pkgutil
from types import ModuleType

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
