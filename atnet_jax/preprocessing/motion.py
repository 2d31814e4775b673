"""Where prepared micro-expression data of one kind lie: their folder within the database's."""

import itertools
from dataclasses import dataclass

from atnet_jax.errors import UserError
from atnet_jax.names import FLOWS


@dataclass(frozen=True)
class Motion:
    """A way to compute the motion in a clip.

    Attributes:
        flow: Name of the optical flow method.
        circular: The ADM's mean directions are circular means; the paper's are arithmetic.
        cancel_alternation: The displacement of odd frames against even ones is taken out.
        remove_head_motion: The shift, rotation and scaling of the whole face are taken out.
    """

    flow: str
    circular: bool = False
    cancel_alternation: bool = False
    remove_head_motion: bool = False

    @property
    def options(self) -> dict[str, bool]:
        """All but the flow: the arguments of `atnet_jax.preprocessing.clip.describe`."""
        return {key: getattr(self, key) for key in OPTIONS}

    @property
    def name(self) -> str:
        """The name of the folder, of the TFDS configuration, and of `config.data.flow`."""
        return "_".join([self.flow, *(word for key, word in OPTIONS.items() if getattr(self, key))])

    @property
    def flags(self) -> str:
        """The options of the command that prepares it."""
        chosen = [f" --{key}" for key in OPTIONS if getattr(self, key)]
        return f"--flow={self.flow}{''.join(chosen)}"


# The words that options add to a name.
OPTIONS = {
    "circular": "circular",
    "cancel_alternation": "steady",
    "remove_head_motion": "stabilised",
}


def all_motions() -> list[Motion]:
    """Every combination of flow method and options, plain methods first."""
    return [
        Motion(flow, *options)
        for options in itertools.product((False, True), repeat=len(OPTIONS))
        for flow in FLOWS
    ]


def motion_named(name: str) -> Motion:
    """The motion whose `name` is this.

    Raises:
        UserError: There is none.
    """
    for motion in all_motions():
        if motion.name == name:
            return motion
    raise UserError(
        f"unknown optical flow {name!r}; choose one of {', '.join(FLOWS)}, followed by"
        f" {', '.join(f'_{word}' for word in OPTIONS.values())} for what was prepared so"
    )
