"""The documentation site: guides, notebooks and the API's pages, from the repository as it is (`make docs`)."""

from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from tagnn_fast.version import __version__

project = "tagnn_fast"
author = "The tagnn_fast authors"
project_copyright = author
version = release = __version__
root_doc = "docs/site/index"
# The sources are the repository itself, so that links between its documents are the site's.
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "RELEASE.md"),
    *("docs/*.md", "docs/notebooks/*.ipynb", "docs/site/**.md"),
    *("reports/**.md", "benchmarks/NOTES.md", "tests/goldens/README.md", "csrc/cuda/README.md"),
]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600

default_role = "code"
maximum_signature_line_length = 100
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"tagnn_fast {release}"
html_extra_path = ["redirect"]


def skip_fields(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples stand among their class's attributes already."""
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", skip_fields)
    app.add_lexer("csv", TextLexer)
