"""Sphinx configuration of the documentation: `make docs`.

Sphinx rather than MkDocs: it builds the API pages from Google-style docstrings, checks every link
between pages, and renders notebooks with their stored outputs (MyST-NB), as the documentation of
JAX, Flax and Optax does.
"""

import atnet_jax

project = "atnet_jax"
author = "the atnet_jax authors"
copyright = f"2026, {author}"
version = release = atnet_jax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]

# --- Pages and notebooks ---
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # The stored outputs are shown; the tests execute the notebooks.
nb_output_stderr = "remove"

# --- API pages ---
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 80

# --- Appearance: everything a page needs is in its folder, so it can be read without network ---
html_theme = "furo"
html_title = f"atnet_jax {release}"
html_copy_source = False
html_show_sphinx = False
