"""Get an AArch64 system into a temporary folder and run `tests.aarch64.emulated` on it, under QEMU.

    python -m tests.aarch64

It takes Debian's Python and libraries for arm64 and a static QEMU from the sources that apt is configured with, and
wheels for AArch64 from those of pip. Nothing is installed, and nobody need be root: apt gets lists and a state of its
own, and packages are only unpacked. Where they cannot be had the level is skipped, which is said; where a check fails,
or an operation of the contract is not called by any, the exit status is 1. Of the standard library alone.
"""

import configparser
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ["python3-minimal:arm64", "libpython3-stdlib:arm64", "libgomp1:arm64", "libstdc++6:arm64"]
QEMU = "qemu-user-static"
WHEELS_FOR = ["manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64"]
# Side by side, on two cores: those that share kernels in one process.
PROCESSES = (("operations", "convolutions"), ("networks",))


class CannotBeHad(Exception):
    """What the system is made of, or where that comes from."""


def main():
    if platform.machine() == "aarch64":
        raise CannotBeHad("this machine is AArch64 itself, and all other tests prove more")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with phase("packages"):
            unpack_packages(folder)
        with phase("wheels"):
            python = unpack_wheels(folder)
        with phase("checks"):
            return run_checks(folder, python)


@contextlib.contextmanager
def phase(name):
    started = time.monotonic()
    yield
    print(f"aarch64: {name} took {time.monotonic() - started:.0f} s", flush=True)


def unpack_packages(folder):
    """The arm64 packages, with all that they depend on, into folder/root, QEMU into folder/host."""
    for each in ("lists/partial", "cache/archives/partial", "root", "host"):
        (folder / each).mkdir(parents=True)
    (folder / "status").touch()  # nothing is installed
    settings = {
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::State::extended_states": folder / "extended_states",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
    }
    host = tried("dpkg", "--print-architecture").strip()
    apt = ["apt-get", *(f"--option={name}={value}" for name, value in settings.items())]
    apt += [f"--option=APT::Architectures::={architecture}" for architecture in (host, "arm64")]
    tried(*apt, "--option=APT::Update::Error-Mode=any", "update")
    tried(*apt, "install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES, QEMU)
    for package in sorted((folder / "cache" / "archives").glob("*.deb")):
        if package.name.startswith("qemu-user"):
            tried("dpkg-deb", "--extract", package, folder / "host")
        elif not package.name.endswith(f"_{host}.deb"):
            tried("dpkg-deb", "--extract", package, folder / "root")


def unpack_wheels(folder):
    """What minicnn needs, for the Python that was unpacked, into folder/wheels; returns that Python."""
    python = next((folder / "root" / "usr" / "bin").glob("python3.*"))
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    # Those with a marker are for other processors; pip would look at this one.
    requirements = [line for line in setup["options"]["install_requires"].splitlines() if line and ";" not in line]
    platforms = [word for name in WHEELS_FOR for word in ("--platform", name)]
    version = python.name.removeprefix("python")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--target", folder / "wheels", "--only-binary", ":all:")
    tried(*pip, "--python-version", version, *platforms, *requirements, "pytest")
    return python


def run_checks(folder, python):
    """0 where every check holds and every operation was called, else 1."""
    qemu = folder / "host" / "usr" / "bin" / "qemu-aarch64-static"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONHOME": str(folder / "root" / "usr"),
        "PYTHONPATH": f"{ROOT}:{folder / 'wheels'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NUMBA_CACHE_DIR": str(folder / "kernels"),
        "NUMBA_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",
    }
    command = [qemu, "-L", folder / "root", python, "-m", "tests.aarch64.emulated"]
    started = [
        subprocess.Popen([*command, *parts], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for parts in PROCESSES
    ]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        print(*outputs, sep="")
        return 1
    checks, said = zip(*(output.rstrip().rsplit("\n", 1) for output in outputs), strict=True)
    print(*checks, sep="\n")
    said = [json.loads(line) for line in said]
    left_out = set(said[0]["all"]).difference(*(each["called"] for each in said))
    if left_out:
        print(f"aarch64: no check calls {', '.join(sorted(left_out))}")
    return 1 if left_out else 0


def tried(*command):
    """What a command prints; raises CannotBeHad with its last words where it fails."""
    command = [str(word) for word in command]
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotBeHad(f"this takes Debian's tools, and {command[0]} is not here") from error
    if ended.returncode:
        raise CannotBeHad(f"{Path(command[0]).name} failed:\n{(ended.stderr or ended.stdout)[-2000:]}")
    return ended.stdout


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CannotBeHad as reason:
        print(f"aarch64: skipped, {reason}")
