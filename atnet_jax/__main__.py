"""`python -m atnet_jax VERB`: runs one of the commands."""

import runpy
import sys

if __name__ == "__main__":
    verb = sys.argv.pop(1)
    runpy.run_module(f"atnet_jax.commands.{verb.replace('-', '_')}", run_name="__main__")
