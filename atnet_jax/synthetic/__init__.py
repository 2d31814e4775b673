"""Synthetic clips in the layouts of CASME II, SAMM and SMIC, with known motion.

They stand in for the licence-gated databases in the demonstration and the tests.
"""

from atnet_jax.synthetic.clip_spec import ClipSpec
from atnet_jax.synthetic.generate import clip_specs, generate
from atnet_jax.synthetic.scene import true_flow

__all__ = ["ClipSpec", "clip_specs", "generate", "true_flow"]
