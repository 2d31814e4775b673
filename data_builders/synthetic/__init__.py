"""Synthetic clips with known motion, in the layouts of the licence-gated databases.

The package writes micro-expressions as in CASME II, SAMM and SMIC, and posed macro-expressions as
in CK+, Oulu-CASIA, JAFFE and MUG. They replace the real databases in the demo and the tests.
"""

from data_builders.synthetic.clip_spec import ClipSpec
from data_builders.synthetic.generate import clip_specs, generate

__all__ = ["ClipSpec", "clip_specs", "generate"]
