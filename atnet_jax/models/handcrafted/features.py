"""What all hand-crafted features share."""

import abc
from typing import Any

import numpy as np
from jaxtyping import Float32

from atnet_jax.models.handcrafted import svm
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip


class BaseFeatures(abc.ABC):
    """Features of a clip, classified by the paper's SVM; see `atnet_jax.models.Features`."""

    @abc.abstractmethod
    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        """The features of a clip; `flow` computes flows between pictures."""

    def prepare(
        self, clip: PreparedClip, flow: FlowMethod, image_size: int
    ) -> dict[str, np.ndarray]:
        """The same by name; the size of the pictures is the networks'."""
        del image_size
        return {"features": self(clip, flow)}

    def size(self) -> int | None:
        """How many there are; None where only a clip can tell."""
        return None

    def machine(self) -> Any:
        """An unfitted SVM: the paper's."""
        return svm.machine()
