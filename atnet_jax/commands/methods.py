"""List every method with its title, inputs, size and source.

--config=cde:NAME and --config=hde:NAME run the method, or the preset, with this name.
"""

import textwrap
from argparse import Namespace

from atnet_jax.commands.parser import Parser

_KINDS = {"network": ("Networks", "parameters"), "features": ("Features and an SVM", "features")}


def add_arguments(parser: Parser) -> None:
    """Define no options in `parser`."""
    del parser


def run(given: Namespace) -> None:
    """Print the list; `given` is not used."""
    del given
    from atnet_jax import models

    methods = [models.find(name) for name in models.names()]
    for kind, (heading, unit) in _KINDS.items():
        print(f"{heading}:\n")
        for method in methods:
            if method.kind != kind:
                continue
            size = method.size()
            number = "a clip-dependent number of" if size is None else f"{size:,}"
            print(f"  {method.name:18}{method.paper_row or method.title}")
            about = [f"Reads {', '.join(method.inputs)}; {number} {unit}.", f"{method.source}."]
            if method.presets:
                about.append(f"Presets: {', '.join(method.presets)}.")
            for text in about:
                print(textwrap.indent(textwrap.fill(text, 80, break_on_hyphens=False), " " * 20))
        print()
