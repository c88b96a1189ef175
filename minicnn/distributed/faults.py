"""What is left to do where a rank is lost: its process killed, its machine gone.

Only an MPI library with *user-level failure mitigation* says so to the others; Open MPI does, where it is started with
`mpiexec --with-ft ulfm`. Anywhere else mpiexec ends the whole job, which starts again from its last checkpoint.

A step is made by all ranks or by none. It has two parts: messages, up to the last sum of gradients, and the update,
which needs no other rank. Between them stands an agreement (MPI_Comm_agree), in which every rank that is left says
whether it has all its sums, and learns whether all have. So

    a rank lost before the agreement    nobody makes the step; those that are left share the same batch anew
    a rank lost after it                all that are left make the step

and no step is lost or counted twice. A rank that is in the middle of a message learns of the loss by an error of some
kind, and *revokes* the communicator, upon which the messages of all others end in an error, too. Then those that are
left *shrink* it to a new one. Numbers that came out of the last messages may be anything, and are thrown away.
"""


class RankLostError(RuntimeError):
    """A rank is gone, and the messages under way will not arrive."""
