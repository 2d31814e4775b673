"""The methods: one file each in this folder, found by its name.

A method's file defines a class. `Model` is a network (a `layers.network.BaseNetwork`); `Features`
are hand-crafted features that an SVM classifies (a `handcrafted.features.BaseFeatures`). The fields
of the class are the method's options (`config.options`), with the release's values as defaults.
Above the class the file defines `INPUTS` and, where they apply, `TITLE`, `SOURCE`, `RECIPE`,
`PUBLISHED`, `DEVIATIONS`, `PAPER_ROW` and `PRESETS`. `Method` describes each of them.
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
    """A network: a pure function of its variables whose `__call__` returns logits `[batch, 3]`.

    Logits that it sows into the collection "auxiliary" during training add a loss term.
    """

    def input_shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape, without a batch axis, of each array that `prepare` returns.

        Args:
            image_size: Height and width of the pictures, in pixels.
        """
        ...

    def prepare(
        self, clip: "PreparedClip", flow: "FlowMethod", image_size: int
    ) -> "dict[str, np.ndarray]":
        """Compute the network's inputs from a clip, with NumPy. The result is cached per clip.

        Args:
            clip: The clip, with all inputs that the method's `INPUTS` names.
            flow: Computes flows between pictures.
            image_size: Height and width of the pictures, in pixels.

        Returns:
            Input name → array, with the shapes that `input_shapes` returns.

        Raises:
            UserError: The network cannot use the clip.
        """
        ...

    def augment(
        self,
        key: "jax.Array",
        inputs: "Mapping[str, jax.Array]",
        change_apex: "Callable[[jax.Array, jax.Array], jax.Array]",
    ) -> "Mapping[str, jax.Array]":
        """Augment a training batch.

        Args:
            key: Random key for all draws.
            inputs: The batch by input name, float32 `[batch, ...]`.
            change_apex: Function (key, apex frames) → apex frames augmented as
                `config.recipe.augment` specifies.

        Returns:
            The inputs that `__call__` receives during training.
        """
        ...

    def loss(self, outputs: "jax.Array", labels: "jax.Array") -> "jax.Array":
        """Return the loss of each clip, `[batch]`."""
        ...

    @property
    def recurrent_layers(self) -> tuple[str, ...]:
        """Names of the layers whose parameters `recurrent_features` reads."""
        ...

    def recurrent_features(
        self, params: Any, inputs: "Mapping[str, jax.Array]"
    ) -> "Mapping[str, jax.Array]":
        """Compute the features of recurrent layers.

        On a TPU, all units compute these side by side, and everything else one after another.

        Args:
            params: Parameters of `recurrent_layers`, by the name of the layer.
            inputs: The batch by input name, float32 `[batch, ...]`.

        Returns:
            Arrays by name. If `inputs` contains them, `__call__` reads them instead of applying
            the layers.
        """
        ...

    def for_training(self) -> "Network":
        """Return an equivalent network with the same variables that trains faster."""
        ...

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return random variables for inputs of these shapes, as in Flax."""
        ...

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the network with these variables, as in Flax."""
        ...


@runtime_checkable
class Features(Protocol):
    """Hand-crafted features and the SVM that classifies them."""

    def __call__(self, clip: "PreparedClip", flow: "FlowMethod") -> "np.ndarray":
        """Return the features of a clip, `[feature]`, float32.

        Args:
            clip: The clip, with all inputs that the method's `INPUTS` names.
            flow: Computes flows between pictures.

        Raises:
            UserError: The features cannot be computed from the clip.
        """
        ...

    def prepare(
        self, clip: "PreparedClip", flow: "FlowMethod", image_size: int
    ) -> "dict[str, np.ndarray]":
        """Return the features of a clip under their name, {"features": …}."""
        ...

    def size(self) -> int | None:
        """Return the number of features of a clip, or None if it depends on the clip."""
        ...

    def machine(self) -> Any:
        """Return an unfitted estimator that ends in `SVC(decision_function_shape="ovo")`."""
        ...


@dataclasses.dataclass(frozen=True)
class Method:
    """Description of a method, read from its file.

    Attributes:
        name: Name of the file without ".py".
        kind: "network", or "features" for hand-crafted features and an SVM.
        inputs: Inputs read from each clip, some of `atnet_jax.data.record.INPUTS`.
        computes: True if the method computes its own inputs from the prepared ones.
        options: Option name → default.
        option_types: Option name → the type that the file declares.
        title: Name in tables.
        source: Publication: authors, title, venue, year.
        recipe: Training settings that differ from the defaults of `atnet_jax.config`.
        published: Scores on the composite as the method's publication reports them.
        deviations: Differences from the publication, and choices where it gives no details, in
            sentences.
        paper_row: Row in the paper's tables.
        presets: Preset name → (options, row in the paper's tables or None).
        file: Path of the source file.
        blueprint: Class that `build` instantiates.
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
        """Return the network or the features.

        Args:
            chosen: A value for every option; None for the defaults.

        Raises:
            UserError: The names in `chosen` are not this method's options.
        """
        chosen = self.options if chosen is None else chosen
        if set(chosen) != set(self.options):
            raise UserError(
                f"The method {self.name!r} has the options {', '.join(self.options) or '(none)'},"
                f" not {', '.join(chosen) or '(none)'}. Select the method as part of the"
                f" configuration, as in --config=cde:{self.name}, not with --config.model."
            )
        return self.blueprint(**chosen)

    def build_network(self, chosen: Mapping[str, Any] | None = None) -> Network:
        """Return what `build` returns, which must be a network.

        Args:
            chosen: A value for every option; None for the defaults.

        Raises:
            UserError: The method is not a network, or the names in `chosen` are not its options.
        """
        built = self.build(chosen)
        if not isinstance(built, Network):
            raise UserError(
                f"The method {self.name!r} consists of hand-crafted features and an SVM, but a"
                " network is required here. Choose a method that is a network."
            )
        return built

    def build_features(self, chosen: Mapping[str, Any] | None = None) -> Features:
        """Return what `build` returns, which must be hand-crafted features.

        Args:
            chosen: A value for every option; None for the defaults.

        Raises:
            UserError: The method is a network, or the names in `chosen` are not its options.
        """
        built = self.build(chosen)
        if not isinstance(built, Features):
            raise UserError(
                f"The method {self.name!r} is a network, but hand-crafted features and an SVM are"
                " required here. Choose a method with hand-crafted features."
            )
        return built

    def size(self, chosen: Mapping[str, Any] | None = None, image_size: int = 224) -> int | None:
        """Return the number of the network's parameters or of a clip's features.

        Parameters are counted from their shapes, without running the network.

        Args:
            chosen: A value for every option; None for the defaults.
            image_size: Height and width of the pictures, in pixels.

        Returns:
            The number, or None if the number of features depends on the clip.

        Raises:
            UserError: The names in `chosen` are not this method's options.
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
        """Return the name of the preset with these options, or None."""
        for preset, (own, _) in self.presets.items():
            if {**self.options, **own} == dict(chosen):
                return preset
        return None

    def paper_row_of(self, chosen: Mapping[str, Any]) -> str | None:
        """Return the row of the paper's tables that these options reproduce, or None."""
        preset = self.preset_of(chosen)
        return self.paper_row if preset is None else self.presets[preset][1]

    def title_of(self, chosen: Mapping[str, Any] | None = None) -> str:
        """Return the method's name in tables for these options (None: the defaults)."""
        chosen = self.options if chosen is None else chosen
        preset = self.preset_of(chosen)
        own = self.title if preset is None else f"{self.title} ({preset})"
        return self.paper_row_of(chosen) or own


def names() -> list[str]:
    """Return the names of all methods, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def presets() -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return all presets: name → (method, options)."""
    return {
        preset: (name, chosen)
        for name in names()
        for preset, (chosen, _) in find(name).presets.items()
    }


def find(name: str) -> Method:
    """Return the method called `name`.

    Args:
        name: Name of a method's file without ".py".

    Raises:
        UserError: No method has this name.
    """
    if name not in names():
        known = ", ".join([*names(), *presets()])
        raise UserError(f"No model is called {name!r}. Choose one of: {known}.")
    module = importlib.import_module(f"{__name__}.{name}")
    said = vars(module)
    network = "Model" in said
    blueprint = module.Model if network else module.Features
    # Flax adds the fields "parent" and "name", which are not options.
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
