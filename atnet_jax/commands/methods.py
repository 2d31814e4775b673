"""Lists every method with its title, inputs, size and source.

--config=cde:NAME and --config=hde:NAME run a method by its name, or by that of one of its settings.
"""

import textwrap
from argparse import Namespace

from atnet_jax.commands.parser import Parser

_KINDS = {"network": ("Networks", "parameters"), "features": ("Features and an SVM", "features")}


def add_arguments(parser: Parser) -> None:
    """Defines no options."""
    del parser


def run(given: Namespace) -> None:
    """Prints the list."""
    del given
    from atnet_jax import models

    methods = [models.find(name) for name in models.names()]
    for kind, (heading, unit) in _KINDS.items():
        print(f"{heading}:\n")
        for method in methods:
            if method.kind != kind:
                continue
            size = method.size()
            number = "a clip decides how many" if size is None else f"{size:,}"
            print(f"  {method.name:18}{method.paper_row or method.title}")
            about = [f"Reads {', '.join(method.inputs)}; {number} {unit}.", f"{method.source}."]
            if method.presets:
                about.append(f"Settings: {', '.join(method.presets)}.")
            for text in about:
                print(textwrap.indent(textwrap.fill(text, 80, break_on_hyphens=False), " " * 20))
        print()
