r"""The whole of Table II: twelve methods under composite database evaluation.

    atnet train --config=table2 --workdir=runs/table2
    atnet train --config=table2 --config.seeds=0,1,2,3,4 \
        --workdir=runs/table2

Every method has a folder in the workdir, as if it were run alone; what is through is not run
again. The report has the published figures beside ours.
"""

from atnet_jax.config import Config, suite_config
from atnet_jax.published import TABLE_METHODS


def get_config() -> Config:
    """All methods of the paper under CDE."""
    return suite_config("table", TABLE_METHODS)
