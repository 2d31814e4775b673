"""The command `atnet VERB`, also available as `python -m atnet_jax VERB`."""

import sys

from atnet_jax import commands


def main() -> None:
    """Run the command line and exit with its status."""
    sys.argv[0] = "atnet"  # Runs record the command that created them.
    sys.exit(commands.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
