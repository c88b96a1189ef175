"""A short run, and on which hosts its ranks were, to a file."""

import json
import sys

from mpi4py import MPI

from minicnn.distributed import world
from tests.mpi.problems import CASE_OF_FAULTS, run


def main(path):
    with world() as group:
        [losses, *_], _ = run(CASE_OF_FAULTS, group, epochs=1)
        hosts = group.exchanged(MPI.Get_processor_name())
        if group.rank == 0:
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"losses": losses, "hosts": hosts}, file)


if __name__ == "__main__":
    main(sys.argv[1])
