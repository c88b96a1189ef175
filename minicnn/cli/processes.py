"""The processes that a command works with: this one, or all ranks of an MPI job."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from minicnn.training.group import Group


@contextmanager
def job(distributed: bool) -> Iterator[Group]:
    """The group. Where a rank of an MPI job meets an error, it says so in a sentence, and the whole job ends."""
    if not distributed:
        yield Group()
        return
    from minicnn.distributed import world  # here, since mpi4py need not be installed

    with world() as group:
        try:
            yield group
        except click.ClickException as error:
            raise SystemExit(error.format_message()) from error
        except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as error:
            raise SystemExit(str(error) or type(error).__name__) from error
