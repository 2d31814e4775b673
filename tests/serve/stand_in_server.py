"""The command line, with a stand-in for the networks: `python -m tests.serve.stand_in_server`."""

import functools

from absl import app

from atnet_jax.serve import __main__ as command
from atnet_jax.serve import server

if __name__ == "__main__":
    server.serve = functools.partial(server.serve, prepare="tests.serve.stand_ins:prepare")
    command._define_flags()
    app.run(command.main)
