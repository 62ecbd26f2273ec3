"""Settings of the documentation's pages, which ``scripts/site`` makes of the repository's own.

The source is the whole checkout, so that links between pages are the same here and there.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import site_pages  # noqa: E402

from costmodel import __version__  # noqa: E402

project = "costmodel and MorphNet"
author = "The costmodel authors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = [
    *("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("docs/**.md", "docs/**.ipynb", "profiles/**.md", "examples/README.md"),
]
exclude_patterns = [
    ".*",
    "build",
    "costmodel",
    "morphnet_core",
    "tests",
    "scripts",
    "**/__pycache__",
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
smartquotes = False
highlight_language = "sh"  # of indented blocks

# Notebooks lie here without results: what they show was run when the page was made.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # a cell: importing Keras takes minutes where others use the machine
nb_merge_streams = True
nb_output_stderr = "remove"  # of libraries that say what processor this is

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
napoleon_attr_annotations = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 80

html_theme = "furo"
html_title = project
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}


def setup(app: object) -> None:
    """Let pages take in what is made of other things than pages."""
    site_pages.connect(app)
