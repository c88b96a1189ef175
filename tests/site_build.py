"""The site, built once for all tests of it: without a network, and with warnings as errors."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = ("sphinx", "myst_nb", "pydata_sphinx_theme", "sphinx_design", "sphinxcontrib.programoutput", "onnx")


def _missing():
    for name in NEEDED:
        try:
            if importlib.util.find_spec(name) is None:
                return name
        except ModuleNotFoundError:
            return name
    return None


needs_sphinx = pytest.mark.skipif(
    _missing() is not None, reason=f"{_missing()} is not installed; get it with: pip install -e '.[docs]'"
)

# Whoever tries to reach another machine while the site is built is told that there is none.
NO_NETWORK = """
import socket

def refused(*arguments, **keywords):
    raise OSError(f"the site is built without a network: {arguments}")

def is_here(host):
    return host in (None, "") or str(host).startswith(("127.", "::1", "localhost", "b'127."))

def connect(self, address, *rest):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not is_here(address[0]):
        refused(address)
    return plain_connect(self, address, *rest)

def look_up(host, *rest, **keywords):
    return plain_look_up(host, *rest, **keywords) if is_here(host) else refused(host)

plain_connect, socket.socket.connect = socket.socket.connect, connect
plain_look_up, socket.getaddrinfo = socket.getaddrinfo, look_up
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site: MINICNN_SITE, if that is set, and then one that is there is taken as it is."""
    folder = Path(os.environ.get("MINICNN_SITE") or tmp_path_factory.mktemp("site") / "site").resolve()
    if folder.is_dir():
        return folder
    without = tmp_path_factory.mktemp("without")
    (without / "sitecustomize.py").write_text(NO_NETWORK)
    path = os.pathsep.join([str(without), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = ["-W", "--keep-going", "-q", "-j", "auto", "-b", "html"]
    command = [sys.executable, "-m", "sphinx", *options, "docs", str(folder)]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, errors="replace"
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-8000:]
    return folder
