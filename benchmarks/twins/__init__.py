"""The networks of `atnet_jax.models` in PyTorch, one file each, as their published ports have them.

The modules require only PyTorch and NumPy, so that an interpreter without JAX can import them.
"""

from benchmarks.twins.atnet import ATNet
from benchmarks.twins.dual_inception import DualInception
from benchmarks.twins.htnet import HTNet
from benchmarks.twins.off_apexnet import OFFApexNet
from benchmarks.twins.rcn import RCN
from benchmarks.twins.sssnet import SSSNet
from benchmarks.twins.ststnet import STSTNet
from benchmarks.twins.twin import Twin


def build(model: str, lstm_autocast: bool) -> Twin:
    """Return the twin of a method.

    Args:
        model: Name of the method.
        lstm_autocast: With autocast, also compute LSTMs in bfloat16.
    """
    if model in ("fusion", "spatial", "temporal"):
        return ATNet(("spatial", "temporal") if model == "fusion" else (model,), lstm_autocast)
    twins = {
        "dual_inception": DualInception,
        "htnet": HTNet,
        "off_apexnet": OFFApexNet,
        "rcn": RCN,
        "sssnet": SSSNet,
        "ststnet": STSTNet,
    }
    return twins[model]()
