"""Build the sdist, and from it the wheel: the same commit gives the same bytes on every machine.

    pip install '.[release]' && python .ci/build.py dist

What setuptools writes depends on when and where files were checked out, in three ways. So it is given the files of the
last commit, whatever stands in the checkout, of one time (that of the commit) and with plain modes; the environment
variable SOURCE_DATE_EPOCH has the wheel take that time over, and files that the build makes get the usual mode; and the
sdist's archive, in which setuptools puts the owner and the time of the build, is written again without them. Another
release of setuptools may write other bytes: the wheel names the one that made it.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(folder: Path) -> None:
    """Build both into `folder`."""
    moment = int(git("log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory() as temporary:
        source, built = Path(temporary, "source"), Path(temporary, "built")
        check_out(source, moment)
        build("--sdist", source, built, moment)
        (sdist,) = built.iterdir()
        content = rewritten(sdist.read_bytes(), moment)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(temporary, filter="data")
        build("--wheel", Path(temporary, sdist.name.removesuffix(".tar.gz")), built, moment)
        sdist.write_bytes(content)
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(built.iterdir()):
            (folder / path.name).write_bytes(path.read_bytes())
            print(folder / path.name)


def git(*arguments: str) -> bytes:
    """What git answers in this checkout."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def check_out(folder: Path, moment: int) -> None:
    """The files of the last commit, last changed at `moment`; readable by all, and executable where git has them so."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD"))) as archive:
        archive.extractall(folder, filter="data")
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
            os.utime(path, (moment, moment))


def build(kind: str, source: Path, target: Path, moment: int) -> None:
    """Run the build, in an environment of its own, with setuptools as pyproject.toml asks for it."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(moment)}
    command = [sys.executable, "-m", "build", kind, "--outdir", str(target), str(source)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, umask=0o022)


def rewritten(sdist: bytes, moment: int) -> bytes:
    """The same archive in the order of names, all of `moment`, of nobody, and compressed without a time."""
    written = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(sdist)) as given,
        gzip.GzipFile(filename="", fileobj=written, mode="wb", mtime=moment) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in sorted(given.getmembers(), key=lambda member: member.name):
            member.mtime, member.mode = moment, 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.pax_headers = {}
            archive.addfile(member, given.extractfile(member) if member.isfile() else None)
    return written.getvalue()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python .ci/build.py FOLDER")
    main(Path(sys.argv[1]))
