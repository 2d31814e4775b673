"""The command line with a stand-in for the networks."""

import functools

from absl import app

from atnet_jax.commands import serve as command
from atnet_jax.inference.serve import server

if __name__ == "__main__":
    server.serve = functools.partial(
        server.serve, prepare="tests.inference.serve.stand_ins:prepare"
    )
    command._define_flags()
    app.run(command.main)
