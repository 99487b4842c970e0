"""Settings of the documentation: ``sphinx-build -W docs docs/_build``."""

from cachekit import __version__

project = "cachekit"
author = "The cachekit developers"
copyright = "2026, the cachekit developers"  # noqa: A001  (Sphinx's name)
version = release = __version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
autodoc_typehints = "none"  # the docstrings say the types in words
html_theme = "pydata_sphinx_theme"
html_title = "cachekit"
html_show_sourcelink = False
html_sidebars = {"**": []}  # three pages need no side bar of their own
numpydoc_show_class_members = False
myst_heading_anchors = 3  # links to headings of other pages

# The build runs the examples that have changed since the last one; if one fails, so
# does the build.
extensions.append("sphinx_gallery.gen_gallery")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "capture_repr": (),
    "image_srcset": ["2x"],
    "remove_config_comments": True,
    "show_signature": False,
    "min_reported_time": 3600,
}
