"""Which files of a folder are images, by their names."""

import os
from pathlib import Path

from minicnn.data.pillow import SUFFIXES


def class_folders(root):
    """The direct sub-folders of `root`, sorted by name."""
    return [root / name for name in sorted(os.listdir(root)) if os.path.isdir(root / name)]


def image_files(folder):
    """(files, unreadable): the paths below `folder` whose suffix is an image's, and the folders that cannot be listed.

    Links to folders are followed, but each folder is entered once and none that `folder` lies in, so that the walk
    ends. The files are sorted by folder, then by name, as torchvision has it; the unreadable folders are pairs
    (path, reason).
    """
    entered = {_identity(above) for above in (folder, *folder.resolve().parents)}
    files, unreadable, waiting = [], [], [folder]
    while waiting:
        here = waiting.pop()
        try:
            names = sorted(os.listdir(here))
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


def _identity(folder: Path):
    """The same for all the names that links give to one folder."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino
