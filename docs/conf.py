"""Settings of the documentation: ``sphinx-build -W docs docs/_build``."""

from docutils.nodes import Element, Node
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from cachekit import __version__

project = "cachekit"
author = "The cachekit developers"
copyright = "2026, the cachekit developers"  # noqa: A001  (Sphinx's name)
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore = [  # without network there is nothing to link them to
    ("py:obj", name)
    for name in (
        "io.BytesIO",
        "logging",
        "pathlib.Path",
        "pickle.PicklingError",
        "shutil.SpecialFileError",
    )
]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # links to headings of other pages

autodoc_typehints = "none"  # the docstrings say the types in words
autodoc_default_options = {"exclude-members": "__init__, __new__"}
autodoc_preserve_defaults = True  # as they are written, not as they print
autosummary_generate = False  # its tables lead to the same page
default_role = "autolink"  # a name in single backticks is a link, if it is one
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    *("GL06", "GL07", "GL08"),  # sections: known, in order; a docstring at all
    *("SS03", "SS06"),  # a summary: one line, a full stop
    *("PR01", "PR02", "PR03", "PR07"),  # parameters: all, no others, in order
    *("RT01", "RT03", "YD01"),  # returns and yields
}
numpydoc_validation_exclude = {
    # Dataclasses document their fields as attributes.
    r"cachekit\.(experiments|inspection)\.[A-Z]\w+$",
    r"cachekit\.(hashing\.CodeVersion|memoization\.(CacheInfo|Record|Tally))$",
    r"cachekit\.stores\.(EntryInfo|EntryKey)",
    # Numpydoc does not know options behind ``**``, nor what has nothing to yield.
    r"cachekit\.Memory\.(cache|offline)$",
    # Methods that take the arguments of the function.
    r"cachekit\.memoization\.MemorizedFunc",
    # The contracts: what one line says of each method is all there is to it.
    r"cachekit\.stores\.(Staging|Store|Turn)\b",
    r"cachekit\.serialization\.(Codec|CompressorWrapper|Label|Seal)\b",
    r"cachekit\.(ParallelBackendBase|StoreBackendBase)\.",
}

html_theme = "pydata_sphinx_theme"
html_title = "cachekit"
html_static_path = ["_static"]
html_css_files = ["cachekit.css"]
html_show_sourcelink = False
html_sidebars = {"index": [], "quickstart": [], "changelog": []}
html_theme_options = {
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "show_prev_next": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}

# The build runs the examples that have changed since the last one; if one fails, so
# does the build.
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


def public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> Node | None:
    """Look for a name in `cachekit` itself: `Memory` of any package is that one."""
    return env.domains.python_domain.resolve_xref(
        env,
        node["refdoc"],
        app.builder,
        "obj",
        f"cachekit.{node['reftarget']}",
        node,
        content,
    )


def no_arguments(app: Sphinx, context: object, lines: list[str]) -> None:
    """Leave out the arguments of a command: its usage and its text name them."""
    del app, context
    lines.clear()


def setup(app: Sphinx) -> None:
    """Ask `public_name` where a link leads nowhere, and shorten the commands."""
    app.connect("missing-reference", public_name)
    app.connect("sphinx-click-process-arguments", no_arguments)
