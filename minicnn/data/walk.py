"""Which files of a folder are images, by their names."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from minicnn.data.pillow import SUFFIXES

# What operating systems and programs put beside a user's files, in addition to what begins with a dot.
SYSTEM_FOLDERS = ("__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information")

# What the parts of a data set are called, as in "train", "Val", "test_set", "training-images".
PARTS = {
    "training": re.compile(r"train(ing)?([-_ ]?(set|data|images|pictures|\d+))?", re.IGNORECASE),
    "validation": re.compile(r"(val(id(ation)?)?|dev)([-_ ]?(set|data|images|pictures|\d+))?", re.IGNORECASE),
    "test": re.compile(r"(test(ing)?|eval(uation)?)([-_ ]?(set|data|images|pictures|\d+))?", re.IGNORECASE),
}


def class_folders(root: Path) -> list[Path]:
    """The direct sub-folders of `root`, sorted by name, without hidden and system ones."""
    return [root / name for name in _own_names(root) if os.path.isdir(root / name)]


def class_name(folder: Path) -> str:
    """The name of a class folder, decoded as UTF-8 whatever the system's locale: a model may be used on another system.

    Bytes that are not UTF-8 become surrogate escapes.
    """
    return os.fsencode(folder.name).decode("utf-8", "surrogateescape")


def parts_of_a_set(names: Iterable[str]) -> dict[str, str]:
    """{part: name} of the folders that are the parts of a data set by their names; {} unless there are several.

    >>> parts_of_a_set(["test", "train", "val"])
    {'training': 'train', 'validation': 'val', 'test': 'test'}
    >>> parts_of_a_set(["bus", "train"])
    {}
    """
    found = {part: name for part, known in PARTS.items() for name in names if known.fullmatch(name)}
    return found if len(found) > 1 else {}


def image_files(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """(files, unreadable): the paths below `folder` whose suffix is an image's, and the folders that cannot be listed.

    Hidden files and folders, whose names begin with a dot, and SYSTEM_FOLDERS are skipped. Links to folders are
    followed, but each folder is entered once and none that `folder` lies in, so that the walk ends. The files are
    sorted by folder, then by name, as torchvision has it; the unreadable folders are pairs (path, reason).
    """
    entered = {_identity(above) for above in (folder, *folder.resolve().parents)}
    files: list[Path] = []
    unreadable: list[tuple[Path, str]] = []
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            names = _own_names(here)
        except OSError as error:
            unreadable.append((here, f"the folder cannot be read ({error.strerror})"))
            continue
        for name in names:
            path = here / name
            if os.path.isdir(path):
                identity = _identity(path)
                if identity not in entered:
                    entered.add(identity)
                    waiting.append(path)
            elif path.suffix.lower() in SUFFIXES:
                files.append(path)
    return sorted(files, key=lambda path: (str(path.parent), path.name)), unreadable


def _own_names(folder: Path) -> list[str]:
    """The names in a folder, sorted, without hidden and system ones."""
    return sorted(name for name in os.listdir(folder) if not name.startswith(".") and name not in SYSTEM_FOLDERS)


def _identity(folder: Path) -> tuple[int, int]:
    """Device and inode, which are the same for all links to a folder."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino
