"""Spotting of the apex of a clip and of expressions in a long video; needs no JAX."""

from atnet_jax.inference.spotting.apex import Apex, spot_apex
from atnet_jax.inference.spotting.intervals import Candidate, Timeline, spot_intervals
from atnet_jax.inference.spotting.regions import STANDARD_LANDMARKS

__all__ = ["STANDARD_LANDMARKS", "Apex", "Candidate", "Timeline", "spot_apex", "spot_intervals"]
