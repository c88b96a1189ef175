"""Backends, and the contract they keep.

A backend is a module that exports every operation below under the same name, with the same arguments. A layer
holds one of them as `layer.ops`; that attribute is the whole dispatch. `network.to("reference")` looks the
module up once and hands it to each layer.

    reference   NumPy, written to be read; the judge of the others
    cpu         Numba `@njit(parallel=True)`, written to be run
    cuda        numba.cuda, for NVIDIA GPUs; its arrays are in the memory of the device

Letters, the same in every docstring, loop and einsum of the package:

    N images          n        F filters (output channels)   f        K classes    k
    C channels        c        KH KW kernel                  i j      D features   d
    H W  image        r s      OH OW output                  p q
    H_n W_n  image n of a batch of different sizes; P pixels of all its images, sum of H_n * W_n

THE CONTRACT. `minicnn.backends.protocol.Operations` lists the operations: signatures, shapes, and the files where each
stands. Operations are functions of arrays: they write to none of their arguments, and return new arrays, C-contiguous
and of the dtype of their input, float32 or float64. The exceptions end in an underscore and change their first
arguments in place. Those of `cpu` and `cuda` go through one door, `minicnn.backends.guard`, which checks what they are
given before compiled code sees it; those of `reference` are NumPy's and check nothing, since the layer has. Each pair
of forward and backward stands in one file. mypy and `tests/test_contract.py` hold every backend against this list.

Images of different sizes come as `minicnn.Images`, one flat array of N blocks (C, H_n, W_n). The operations of conv,
batchnorm, activation, addition, dropout, pooling and fused take them wherever (N, C, H, W) is written, and return
`Images` for them: each image is treated at its own size, and batchnorm's sums run over the P pixels of all. In such a
call `input_size` is the sizes (N, 2), and `rows` and `columns` are lists with a table for each image. Whatever has no
image axes left, (N, F) or (C,), is an ordinary array. In `reference` all of this is in `mixed.py`, apart from the
arithmetic.
"""

from minicnn.backends.protocol import Operations

NAMES = ("reference", "cpu", "cuda")


def get_backend(name: str) -> Operations:
    """The backend module called `name`, imported when first asked for.

    Raises ValueError for a name that is no backend, RuntimeError with the remedy where the backend cannot run.

    >>> get_backend("reference").__name__
    'minicnn.backends.reference'
    """
    if name not in NAMES:
        raise ValueError(f"get_backend: unknown backend {name!r}; expected one of {', '.join(NAMES)}")
    backend = module_of(name)
    backend.require_device()
    return backend


def module_of(name: str) -> Operations:
    """The module of the backend `name`, one of NAMES. It is not asked whether it can run.

    Imported here, so that importing minicnn need not import numba.
    """
    # Each is returned as it is, so that mypy holds each against Operations.
    if name == "reference":
        from minicnn.backends import reference

        return reference
    if name == "cpu":
        from minicnn.backends import cpu

        return cpu
    from minicnn.backends import cuda

    return cuda
