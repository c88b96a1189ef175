"""The program `minicnn`, of whose ranks the first goes on seconds after the others once they have met."""

import time
from contextlib import contextmanager

import minicnn.cli.train
from minicnn.cli import main

job = minicnn.cli.train.job


@contextmanager
def with_a_late_rank(distributed):
    with job(distributed) as group:
        if group.rank == 0:
            time.sleep(3)
        yield group


if __name__ == "__main__":
    minicnn.cli.train.job = with_a_late_rank
    main()
