"""ATNet and the methods it is compared with: cross-dataset micro-expression recognition in JAX."""

__version__ = "0.2.0"
