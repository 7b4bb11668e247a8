"""The site that `make docs` builds from this folder; `_toc.yml` holds its order."""

project = "Twofold"
author = "The Twofold authors"
project_copyright = "The Twofold authors"

extensions = ["myst_parser", "sphinx_external_toc"]
external_toc_path = "_toc.yml"
exclude_patterns = ["make_reference.py"]

# Every heading can be linked to; attributes are for the anchors of generated pages.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline", "colon_fence"]

html_theme = "furo"
html_title = "Twofold"
html_favicon = "images/twofold.svg"
html_copy_source = False
html_show_sphinx = False
templates_path: list[str] = []
html_static_path = ["site.css"]
html_css_files = ["site.css"]
pygments_style = "friendly"
pygments_dark_style = "monokai"
