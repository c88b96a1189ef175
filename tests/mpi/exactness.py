"""The program of the exactness table: every case on the ranks of this job, and what came of it to a file.

exactness.py RESULT [N]   (with N every Nth case)
"""

import json
import sys

from mpi4py import MPI

from minicnn.distributed import MPIGroup, world
from tests.mpi.problems import BUCKET_BYTES, LOCAL, cases, run


def main(path, every="1"):
    results = {}
    with world(bucket_bytes=BUCKET_BYTES) as group:
        for case in cases()[:: int(every)]:
            curves, digests = run(case, group)
            same = len({tuple(other) for other in group.exchanged(digests)}) == 1
            results[case.name] = {"curves": curves, "digests": digests, "same on every rank": same}
        # Batchnorm by each rank's own images is another computation, but the same on all ranks.
        curves, digests = run(LOCAL, MPIGroup(MPI.COMM_WORLD, synchronise_batchnorm=False))
        same = len({tuple(other) for other in group.exchanged(digests)}) == 1
        results["local"] = {"curves": curves, "digests": digests, "same on every rank": same}
        if group.rank == 0:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(results, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
