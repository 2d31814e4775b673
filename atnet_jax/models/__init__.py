"""The methods: one file each in this folder, found by its name.

A method's file defines `Model`, a network (a `layers.network.BaseNetwork`), or `Features`,
hand-crafted features that an SVM classifies (a `handcrafted.features.BaseFeatures`). Its fields are
the method's options (`config.options`), their defaults those of the release. Above it the file says
in plain data what `Method` lists: `INPUTS` and, as far as there is something to say, `TITLE`,
`SOURCE`, `RECIPE`, `PUBLISHED`, `DEVIATIONS`, `PAPER_ROW` and `PRESETS`.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from atnet_jax.errors import UserError
from atnet_jax.published import Published

if TYPE_CHECKING:
    import jax
    import numpy as np

    from atnet_jax.preprocessing.optical_flow import FlowMethod
    from atnet_jax.preprocessing.prepared_clip import PreparedClip


@runtime_checkable
class Network(Protocol):
    """A network, a pure function of its variables; its `__call__` gives logits `[batch, 3]`.

    Logits that it sows into the collection "auxiliary" while training add a loss of their own.
    """

    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        """The shape of each array that `prepare` gives, without the clip."""
        ...

    def prepare(
        self, clip: "PreparedClip", flow: "FlowMethod", image_size: int
    ) -> "dict[str, np.ndarray]":
        """What it reads of a clip, by name: computed with NumPy, once a clip, and kept.

        Raises:
            UserError: It cannot use the clip.
        """
        ...

    def augment(
        self,
        key: "jax.Array",
        inputs: "Mapping[str, jax.Array]",
        change_apex: "Callable[[jax.Array, jax.Array], jax.Array]",
    ) -> "Mapping[str, jax.Array]":
        """What training makes of a batch.

        Args:
            key: Of all that is drawn.
            inputs: The batch, float32.
            change_apex: (key, apex frames) → what `config.recipe.augment` makes of these.
        """
        ...

    def loss(self, outputs: "jax.Array", labels: "jax.Array") -> "jax.Array":
        """The loss of each clip, `[batch]`."""
        ...

    def for_training(self) -> "Network":
        """The same network of the same variables, written to be trained fast."""
        ...

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """Flax's: random variables for inputs like these."""
        ...

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Flax's: calls the network with these variables."""
        ...


@runtime_checkable
class Features(Protocol):
    """Hand-crafted features, and the SVM that classifies them."""

    def __call__(self, clip: "PreparedClip", flow: "FlowMethod") -> "np.ndarray":
        """The features of a clip, `[feature]`, float32; `flow` computes flows between pictures.

        Raises:
            UserError: They cannot be had of the clip.
        """
        ...

    def prepare(
        self, clip: "PreparedClip", flow: "FlowMethod", image_size: int
    ) -> "dict[str, np.ndarray]":
        """The same by name: {"features": …}."""
        ...

    def size(self) -> int | None:
        """How many features a clip has; None where only a clip can tell."""
        ...

    def machine(self) -> Any:
        """An unfitted scikit-learn estimator that ends in `SVC(decision_function_shape="ovo")`."""
        ...


@dataclasses.dataclass(frozen=True)
class Method:
    """A method, as its file describes it.

    Attributes:
        name: Of its file.
        kind: A network, or features and an SVM.
        inputs: What it reads of a clip, some of `atnet_jax.data.record.INPUTS`.
        computes: Whether it computes something of them, rather than reads them as prepared.
        options: Their names and defaults.
        option_types: The types that the file declares for them.
        title: Its name in tables.
        source: Its publication: authors, title, venue, year.
        recipe: Where its training differs from the default of `atnet_jax.config`.
        published: What its own publication says of it on the composite.
        deviations: Where it differs from its publication, or where that is silent, in sentences.
        paper_row: Its row in the paper's tables.
        presets: Named settings: name → (options, row in the paper's tables or None).
        file: Its code.
        blueprint: The class that `build` makes an instance of.
    """

    name: str
    kind: Literal["network", "features"]
    inputs: tuple[str, ...]
    computes: bool
    options: Mapping[str, Any]
    option_types: Mapping[str, Any]
    title: str
    source: str
    recipe: Mapping[str, Any]
    published: Published | None
    deviations: tuple[str, ...]
    paper_row: str | None
    presets: Mapping[str, tuple[Mapping[str, Any], str | None]]
    file: Path
    blueprint: type[Any]

    def build(self, chosen: Mapping[str, Any] | None = None) -> Network | Features:
        """The network or the features.

        Args:
            chosen: Every option; None for the defaults.

        Raises:
            UserError: They are another method's options.
        """
        chosen = self.options if chosen is None else chosen
        if set(chosen) != set(self.options):
            raise UserError(
                f"The method {self.name!r} has the options {', '.join(self.options) or '(none)'},"
                f" not {', '.join(chosen) or '(none)'}. Name the method with the configuration, as"
                f" in --config=cde:{self.name}, not with --config.model."
            )
        return self.blueprint(**chosen)

    def build_network(self, chosen: Mapping[str, Any] | None = None) -> Network:
        """As `build`, of a network.

        Raises:
            UserError: It is no network, or they are another method's options.
        """
        built = self.build(chosen)
        if not isinstance(built, Network):
            raise UserError(f"{self.name} is features and an SVM; a network is needed here.")
        return built

    def build_features(self, chosen: Mapping[str, Any] | None = None) -> Features:
        """As `build`, of hand-crafted features.

        Raises:
            UserError: It is a network, or they are another method's options.
        """
        built = self.build(chosen)
        if not isinstance(built, Features):
            raise UserError(f"{self.name} is a network; features and an SVM are needed here.")
        return built

    def size(self, chosen: Mapping[str, Any] | None = None, image_size: int = 224) -> int | None:
        """How many parameters the network has, or features a clip; nothing is computed.

        Args:
            chosen: Every option; None for the defaults.
            image_size: Height and width of the pictures that are read.

        Returns:
            The number, or None where only a clip can tell.

        Raises:
            UserError: They are another method's options.
        """
        if self.kind == "features":
            return self.build_features(chosen).size()
        import jax

        network = self.build_network(chosen)
        inputs = {
            name: jax.ShapeDtypeStruct((2, *shape), "float32")
            for name, shape in network.input_shapes(image_size).items()
        }
        params = jax.eval_shape(
            lambda batch: network.init(
                {name: jax.random.key(0) for name in ("params", "dropout")}, batch, train=True
            )["params"],
            inputs,
        )
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    def preset_of(self, chosen: Mapping[str, Any]) -> str | None:
        """The name of the setting that these options are, or None."""
        for preset, (own, _) in self.presets.items():
            if {**self.options, **own} == dict(chosen):
                return preset
        return None

    def paper_row_of(self, chosen: Mapping[str, Any]) -> str | None:
        """The row of the paper's tables that the method with these options reproduces, or None."""
        preset = self.preset_of(chosen)
        return self.paper_row if preset is None else self.presets[preset][1]

    def title_of(self, chosen: Mapping[str, Any] | None = None) -> str:
        """What tables call the method with these options; None for the defaults."""
        chosen = self.options if chosen is None else chosen
        preset = self.preset_of(chosen)
        own = self.title if preset is None else f"{self.title} ({preset})"
        return self.paper_row_of(chosen) or own


def names() -> list[str]:
    """All methods' names; none is imported for it."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def presets() -> dict[str, tuple[str, Mapping[str, Any]]]:
    """All named settings: name → (method, options)."""
    return {
        preset: (name, chosen)
        for name in names()
        for preset, (chosen, _) in find(name).presets.items()
    }


def find(name: str) -> Method:
    """The method called `name`.

    Raises:
        UserError: There is no such method.
    """
    if name not in names():
        known = ", ".join([*names(), *presets()])
        raise UserError(f"No model is called {name!r}. The models are: {known}.")
    module = importlib.import_module(f"{__name__}.{name}")
    said = vars(module)
    network = "Model" in said
    blueprint = module.Model if network else module.Features
    # But Flax's own.
    fields = [one for one in dataclasses.fields(blueprint) if one.name not in ("parent", "name")]
    return Method(
        name=name,
        kind="network" if network else "features",
        inputs=module.INPUTS,
        computes=not network or blueprint.computes(),
        options={field.name: field.default for field in fields},
        option_types={field.name: field.type for field in fields},
        title=said.get("TITLE", name),
        source=said.get("SOURCE", ""),
        recipe=said.get("RECIPE", {}),
        published=said.get("PUBLISHED"),
        deviations=said.get("DEVIATIONS", ()),
        paper_row=said.get("PAPER_ROW"),
        presets=said.get("PRESETS", {}),
        file=Path(str(module.__file__)),
        blueprint=blueprint,
    )
