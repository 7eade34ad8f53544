"""Settings of the documentation: `make docs` builds it, without a network."""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "docs" / "extensions"), str(ROOT / "src")]

from root_pages import with_links_of_site  # noqa: E402

import edgewise  # noqa: E402

project = "Edgewise"
author = "The Edgewise authors"
copyright = author
version = release = edgewise.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
    "api_reference",
    "command_line",
    "mathml",
]
exclude_patterns = ["sg_execution_times.rst"]
nitpicky = True

# Single backticks are names, which become links; see `api_reference.resolve`.
default_role = "py:obj"
add_module_names = False
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Shape", "Gradients", "Complexity", "Initialization", "Cost"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Edgewise {version}"
html_static_path = ["static"]
html_css_files = ["edgewise.css"]
html_math_renderer = "mathml"
html_copy_source = False

# --- Gallery ------------------------------------------------------------------------------------

# Examples that read a data set which is not included run where it is found.
NEEDS_DATA = {"pyg_accelerate": "cora", "pyg_gat": "cora", "pyg_gps": "esol"}


def has_data(name: str) -> bool:
    """Whether a data set can be read without downloading it."""
    from edgewise.training import CATALOG

    folder = os.environ.get("EDGEWISE_DATA")
    return bool(folder) and (Path(folder) / str(CATALOG[name].file)).exists()


without_data = sorted(example for example, data in NEEDS_DATA.items() if not has_data(data))
if without_data:
    print(f"Not executed, since EDGEWISE_DATA has not their data: {', '.join(without_data)}.")
executed = "".join(f"(?!{example})" for example in without_data)

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": rf"/{executed}\w+\.py$",
    "within_subsection_order": "gallery_order.GalleryOrder",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 10**6,
    # Its page of times loads scripts from elsewhere.
    "write_computation_times": False,
    "remove_config_comments": True,
    "matplotlib_animations": False,
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("matplotlib",),
}
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")


# --- Pages of the root --------------------------------------------------------------------------


def rewrite_links(_app: Sphinx, path: Path, _page: str, content: list[str]) -> None:
    """Rewrite the links of a page that is included from the root of the repository."""
    if path.parent == Path(".."):
        content[0] = with_links_of_site(content[0], ROOT)


# --- Source pages -------------------------------------------------------------------------------


def link_pages(_app: Sphinx, page: str, _template: str, context: dict[str, Any], _: Any) -> None:
    """Let a source page link to the page of a name instead of a place on it.

    Sphinx takes one package for all names of a file, so its places are wrong where two export them.
    """
    if page.startswith("_modules/"):
        back = r'(class="viewcode-back" href="[^"#]*)#[^"]*'
        context["body"] = re.sub(back, r"\1", context["body"])


def setup(app: Sphinx) -> None:
    """Register what is written here."""
    app.connect("include-read", rewrite_links)
    app.connect("html-page-context", link_pages)
