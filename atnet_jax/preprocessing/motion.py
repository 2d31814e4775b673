"""Options that determine the motion in prepared clips, and the name of its folder."""

import itertools
from dataclasses import dataclass

from atnet_jax.errors import UserError
from atnet_jax.names import FLOWS


@dataclass(frozen=True)
class Motion:
    """A way to compute the motion in a clip.

    Attributes:
        flow: Name of the optical flow method.
        circular: Use circular mean directions in the ADM; the paper uses arithmetic means.
        cancel_alternation: Subtract the displacement of odd frames against even ones.
        remove_head_motion: Subtract the shift, rotation and scaling of the whole face.
    """

    flow: str
    circular: bool = False
    cancel_alternation: bool = False
    remove_head_motion: bool = False

    @property
    def options(self) -> dict[str, bool]:
        """Options other than the flow, as arguments of `atnet_jax.preprocessing.clip.describe`."""
        return {key: getattr(self, key) for key in OPTIONS}

    @property
    def name(self) -> str:
        """Name of the folder and TFDS configuration, and value of `config.data.flow`."""
        return "_".join([self.flow, *(word for key, word in OPTIONS.items() if getattr(self, key))])

    @property
    def flags(self) -> str:
        """Options of the `atnet prepare` command that prepares this motion."""
        chosen = [f" --{key}" for key in OPTIONS if getattr(self, key)]
        return f"--flow={self.flow}{''.join(chosen)}"


# Suffix that each option adds to the name.
OPTIONS = {
    "circular": "circular",
    "cancel_alternation": "steady",
    "remove_head_motion": "stabilised",
}


def all_motions() -> list[Motion]:
    """Return every combination of flow method and options, methods without options first."""
    return [
        Motion(flow, *options)
        for options in itertools.product((False, True), repeat=len(OPTIONS))
        for flow in FLOWS
    ]


def motion_named(name: str) -> Motion:
    """Return the motion with this `Motion.name`.

    Args:
        name: Name of a flow method, followed by the suffixes of the options.

    Raises:
        UserError: No motion has this name.
    """
    for motion in all_motions():
        if motion.name == name:
            return motion
    raise UserError(
        f"Unknown optical flow {name!r}. Choose one of {', '.join(FLOWS)}, followed by"
        f" {', '.join(f'_{word}' for word in OPTIONS.values())} if the data were prepared with"
        f" {', '.join(f'--{key}' for key in OPTIONS)}."
    )
