"""The platform that a computation is traced for, on which the fastest form of a layer depends.

And whether JAX has started, after which its options cannot change.
"""

import contextlib
from collections.abc import Generator
from contextvars import ContextVar

import jax
from jax._src import xla_bridge

_platform: ContextVar[str | None] = ContextVar("platform", default=None)


def platform() -> str:
    """Return "cpu", "gpu" or "tpu", by default the platform of this machine."""
    return _platform.get() or jax.default_backend()


@contextlib.contextmanager
def tracing_for(name: str) -> Generator[None, None, None]:
    """Trace what the block contains for a platform, which need not be that of this machine.

    Args:
        name: "cpu", "gpu" or "tpu".
    """
    token = _platform.set(name)
    try:
        yield
    finally:
        _platform.reset(token)


def has_started() -> bool:
    """Return whether JAX has looked for devices in this process and thus read its options."""
    # JAX offers no public function for this.
    return xla_bridge.backends_are_initialized()
