"""FILE.py:NAME, as --network takes it: a network of the user's own, or what makes one."""

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from minicnn.network import Sequential


def network_in(place: str, context: click.Context) -> Sequential:
    """The network that FILE.py:NAME means, or makes without arguments. Ends the program where there is none."""
    made = in_file(place, context, lambda found: found() if callable(found) else found)
    if not isinstance(made, Sequential):
        name = place.rpartition(":")[2]
        raise click.ClickException(f"--network: expected {name} to be or to make a network, got {type(made).__name__}")
    return made


def in_file(place: str, context: click.Context, use: Callable[[Any], Any]) -> Any:
    """What FILE.py:NAME is called for: a network itself, or what `use` makes of anything else.

    What goes wrong in the file is told with its line.
    """
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name:
        raise click.UsageError(f"--network: expected FILE.py:NAME, got {place!r}.", context)
    if not Path(file).is_file():
        raise click.ClickException(f"--network: no file {file}")
    spec = importlib.util.spec_from_file_location("network_of_the_user", file)
    assert spec is not None  # since the file's name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(Path(file).resolve().parent)
    sys.modules[spec.name] = module  # as an import would, for what looks itself up there
    sys.path.insert(0, folder)  # as python FILE.py would, for its neighbours
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, name):
            raise click.ClickException(f"--network: there is no {name} in {file}")
        found = getattr(module, name)
        return found if isinstance(found, Sequential) else use(found)
    except click.ClickException:
        raise
    except Exception as error:
        raise click.ClickException(f"--network: {_where(file, spec.origin, error)}: {error}") from error
    finally:
        sys.path.remove(folder)


def _where(file: str, origin: str | None, error: Exception) -> str:
    """The file, and the last line of it that the error came through, and the error's kind."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin]
    lines += [error.lineno] if isinstance(error, SyntaxError) and error.filename == origin else []
    return f"{file}{f', line {lines[-1]}' if lines else ''}: {type(error).__name__}"
