"""The folder in which JAX keeps compiled programs for later processes."""

import functools
import os
import sys
import warnings
from pathlib import Path

import filelock
import jax

# Bytes. When the folder is full, JAX removes the programs that were not used for the longest time.
_LARGEST = 2**30
# Seconds. A program that compiles faster is compiled again in every process.
_WORTH_KEEPING = 0.1
# Seconds that another process may lock the folder.
_PATIENCE = 5


def folder() -> Path:
    """Return the folder: atnet_jax/compiled in the user's folder of caches.

    Raises:
        RuntimeError: The user has no home folder.
    """
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(caches):
        return Path(caches) / "atnet_jax" / "compiled"
    caches = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return Path.home() / caches / "atnet_jax" / "compiled"


@functools.cache
def keep_programs() -> None:
    """Have JAX keep the programs that it compiles from now on in `folder`, and find them there.

    This has no effect if the user has set JAX's own cache folder or switched its cache off, or if
    the folder cannot be used.
    """
    # Set by an environment variable of this name in capitals, or by the user's script.
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    if not jax.config.values["jax_enable_compilation_cache"]:
        return
    try:
        path = folder()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_incomplete(path)
    except (OSError, RuntimeError):  # No permission, no home, or no locks on this file system.
        return
    jax.config.update("jax_compilation_cache_max_size", _LARGEST)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING)
    jax.config.update("jax_compilation_cache_dir", str(path))
    # JAX then compiles the program. The user has not asked for this folder and need not repair it.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def _remove_incomplete(path: Path) -> None:
    """Remove what a killed process or a full disk left of a program.

    JAX writes the file of a program and then that of its last use, both under this lock. It would
    neither replace a program without the second file nor, because of it, write any other program.
    """
    with filelock.FileLock(path / ".lockfile", timeout=_PATIENCE):
        for program in path.glob("*-cache"):
            last_use = program.with_name(program.name.removesuffix("-cache") + "-atime")
            # It is empty if the disk was full.
            if not last_use.exists() or not last_use.stat().st_size:
                program.unlink()
                last_use.unlink(missing_ok=True)
