"""Which files of a folder are images, by their names."""

import os
import re
from pathlib import Path

from minicnn.data.pillow import SUFFIXES

# What systems and programs put beside people's own files, besides all that begins with a dot.
SYSTEM_FOLDERS = ("__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information")

# What the parts of a data set are called, as in "train", "Val", "test_set", "training-images".
PARTS = {
    "training": re.compile(r"train(ing)?([-_ ]?(set|data|images|pictures|\d+))?", re.IGNORECASE),
    "validation": re.compile(r"(val(id(ation)?)?|dev)([-_ ]?(set|data|images|pictures|\d+))?", re.IGNORECASE),
    "test": re.compile(r"(test(ing)?|eval(uation)?)([-_ ]?(set|data|images|pictures|\d+))?", re.IGNORECASE),
}


def class_folders(root):
    """The direct sub-folders of `root` that a person made, sorted by name."""
    return [root / name for name in _own_names(root) if os.path.isdir(root / name)]


def class_name(folder):
    """The name of a class folder, read as UTF-8 whatever language the system is set to: a model is used on others, too.

    What is no UTF-8 stays in it as Python's half characters.
    """
    return os.fsencode(folder.name).decode("utf-8", "surrogateescape")


def parts_of_a_set(names):
    """{part: name} of the folders that are the parts of a data set by their names; {} unless there are several.

    >>> parts_of_a_set(["test", "train", "val"])
    {'training': 'train', 'validation': 'val', 'test': 'test'}
    >>> parts_of_a_set(["bus", "train"])
    {}
    """
    found = {part: name for part, known in PARTS.items() for name in names if known.fullmatch(name)}
    return found if len(found) > 1 else {}


def image_files(folder):
    """(files, unreadable): the paths below `folder` whose suffix is an image's, and the folders that cannot be listed.

    Hidden files and folders, whose names begin with a dot, and SYSTEM_FOLDERS are passed over. Links to folders are
    followed, but each folder is entered once and none that `folder` lies in, so that the walk ends. The files are
    sorted by folder, then by name, as torchvision has it; the unreadable folders are pairs (path, reason).
    """
    entered = {_identity(above) for above in (folder, *folder.resolve().parents)}
    files, unreadable, waiting = [], [], [folder]
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


def _own_names(folder):
    """What lies in a folder, sorted by name, without what is hidden or the system's."""
    return sorted(name for name in os.listdir(folder) if not name.startswith(".") and name not in SYSTEM_FOLDERS)


def _identity(folder: Path):
    """The same for all the names that links give to one folder."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino
