"""The command `atnet VERB`, which is `python -m atnet_jax VERB` as well."""

import sys

from atnet_jax import commands


def main() -> None:
    """Runs the command line."""
    sys.argv[0] = "atnet"  # As runs record the command that made them.
    sys.exit(commands.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
