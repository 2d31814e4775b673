"""The command line with a stand-in for the networks."""

import functools
import sys

from atnet_jax import commands
from atnet_jax.inference.serve import server

if __name__ == "__main__":
    server.serve = functools.partial(
        server.serve, prepare="tests.inference.serve.stand_ins:prepare"
    )
    sys.exit(commands.run(["serve", *sys.argv[1:]]))
