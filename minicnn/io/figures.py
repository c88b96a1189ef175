"""What all figures need of matplotlib: the import with its remedy, fonts for any script, and files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn.io.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
NO_SCRIPT = "Last Resort"  # begins the name of a font that has a box for every character


def import_matplotlib() -> Any:
    """matplotlib, imported for the first figure. Raises ImportError with the remedy."""
    try:
        import matplotlib.colors
        import matplotlib.figure
        import matplotlib.font_manager
    except ImportError as error:
        raise ImportError(
            "figures are drawn with matplotlib, which is not installed; get it with: pip install matplotlib"
        ) from error
    return matplotlib


def axes_or_new(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """`ax`, or the axes of a new figure of pyplot's, which `plt.show()` shows, of this size in inches."""
    if ax is not None:
        return ax
    import_matplotlib()
    import matplotlib.pyplot as plt  # only here: it chooses how figures are shown

    _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def readable(texts: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """(texts, keyword arguments for matplotlib) so that they can be read, in whatever script they are.

    The arguments name fonts of this computer that have the characters. What none of them has is written by its number,
    as in "\\u732b", so that two different names stay different; surrogates, as in file names that are no UTF-8, too.
    """
    matplotlib = import_matplotlib()
    families, without = _fonts_with(frozenset("".join(texts)))
    spelt = [
        "".join(c.encode("ascii", "backslashreplace").decode() if c in without else c for c in text) for text in texts
    ]
    return spelt, {"fontfamily": [*matplotlib.rcParams["font.family"], *families], "parse_math": False}


@lru_cache(maxsize=256)
def _fonts_with(characters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """(families beside the usual font, characters that no font has)"""
    manager = import_matplotlib().font_manager
    usual = manager.findfont(manager.FontProperties())
    needed = _not_in(usual, {c for c in characters if c.isprintable()})
    families: list[str] = []
    for font in sorted(manager.fontManager.ttflist, key=lambda font: (font.style, font.weight != 400, font.name)):
        if not needed:
            break
        if not font.name.startswith(NO_SCRIPT) and (rest := _not_in(font.fname, needed)) != needed:
            families.append(font.name)
            needed = rest
    return families, frozenset(needed | {c for c in characters if not c.isprintable()})


def _not_in(path: str, characters: set[str]) -> set[str]:
    known = import_matplotlib().font_manager.get_font(path).get_charmap() if characters else {}
    return {c for c in characters if ord(c) not in known}


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    write_whole(path, content.getvalue())
