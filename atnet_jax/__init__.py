"""ATNet and the methods it is compared with: cross-dataset micro-expression recognition in JAX.

`import atnet_jax as atnet` gives the Python interface; `__init__.pyi` lists it. Each name is
imported when it is first used, so that the import itself is fast.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
