"""The site, built by Sphinx without a network: python -m sphinx -W -j auto docs build/site (extra `docs`).

What pages show is made while they are built: code cells are run by MyST-NB, commands by programoutput in `_scratch`,
lessons by the course itself. So whatever fails is a warning, and with -W an error.
"""

import os
import shutil
import sys
from pathlib import Path

import minicnn

HERE = Path(__file__).parent
SCRATCH = HERE / "_scratch"  # where the commands on the pages are run, one after another; empty at first
sys.path.insert(0, str(HERE / "extensions"))
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # of commands: this environment's
os.environ["COLUMNS"] = "100"

shutil.rmtree(SCRATCH, ignore_errors=True)
SCRATCH.mkdir()

project = "minicnn"
copyright = "its authors, MIT licence"
release = minicnn.__version__

extensions = [
    "myst_nb",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.programoutput",
    "docstrings",
    "lessons",
    "tables",
]
exclude_patterns = ["_scratch", "**/.ipynb_checkpoints"]
suppress_warnings = ["config.cache"]  # a function among the settings of an extension, which is then asked each time

# Pages: Markdown, of which `{code-cell}` is run.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120
programoutput_prompt_template = "$ {command}\n{output}"

# The reference: docstrings as they are, see extensions/docstrings.py.
default_role = "py:obj"
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
viewcode_follow_imported_members = True
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

# Pages whose commands make what other pages use. They are read first, and whenever anything is; the others may then be
# read in several processes (-j), for each has files of its own.
MAKERS = ["your-pictures"]


def setup(app):
    app.connect("env-before-read-docs", makers_first)


def makers_first(app, env, docnames):
    for name in MAKERS if docnames else []:
        app.emit("env-purge-doc", env, name)
        env.clear_doc(name)
        app.builder.read_doc(name)
    docnames[:] = [name for name in docnames if name not in MAKERS]


html_theme = "pydata_sphinx_theme"
html_title = "minicnn"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_context = {"default_mode": "auto"}
