r"""Complete Table II: twelve methods under composite database evaluation.

    atnet train --config=table2 --workdir=runs/table2
    atnet train --config=table2 --config.seeds=0,1,2,3,4 \
        --workdir=runs/table2

Every method has a folder in the workdir and equals a separate run. A rerun skips completed methods.
The report shows the published figures beside the measured ones.
"""

from atnet_jax.config import Config, suite_config
from atnet_jax.published import TABLE_METHODS


def get_config() -> Config:
    """Return the settings of all methods of the paper under CDE."""
    return suite_config("table", TABLE_METHODS)
