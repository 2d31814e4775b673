"""Base class of all hand-crafted features."""

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
        """Return the features of a clip; `flow` computes flows between pictures."""

    def prepare(
        self, clip: PreparedClip, flow: FlowMethod, image_size: int
    ) -> dict[str, np.ndarray]:
        """Return the features of a clip under their name; `image_size` concerns only networks."""
        del image_size
        return {"features": self(clip, flow)}

    def size(self) -> int | None:
        """Return the number of features of a clip, or None if it depends on the clip."""
        return None

    def machine(self) -> Any:
        """Return the paper's SVM, unfitted."""
        return svm.machine()
