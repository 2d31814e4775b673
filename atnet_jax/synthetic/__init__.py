"""Synthetic clips with known motion, in the layouts of the licence-gated databases.

Micro-expressions as in CASME II, SAMM and SMIC, posed macro-expressions as in CK+, Oulu-CASIA,
JAFFE and MUG. They stand in for the real ones in the demonstration and the tests.
"""

from atnet_jax.synthetic.clip_spec import ClipSpec
from atnet_jax.synthetic.generate import clip_specs, generate
from atnet_jax.synthetic.scene import true_flow

__all__ = ["ClipSpec", "clip_specs", "generate", "true_flow"]
