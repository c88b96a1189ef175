"""Every kernel of the cuda backend in float32, compiled for every architecture or for two, a process for each core."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from tests.cuda.recorded import every_kernel
from tests.cuda.resources import MULTIPROCESSORS, resources

ALL = tuple(MULTIPROCESSORS)


def compiled(architectures=lambda number: ALL):
    """[(launch, {architecture: its Resources})] of every kernel, for the `architectures` of its number."""
    launches = every_kernel()
    tasks = [(number, cc) for number in range(len(launches)) for cc in architectures(number)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        found = dict(zip(tasks, pool.map(_resources, tasks, chunksize=len(architectures(0))), strict=True))
    return [(launch, {cc: found[number, cc] for cc in architectures(number)}) for number, launch in enumerate(launches)]


def two_of_them(number):
    """The oldest architecture, and one of the others, which take turns."""
    return ALL[0], ALL[1:][number % len(ALL[1:])]


def _resources(task):
    """Kernels cannot be sent to another process, but it can find the same ones."""
    number, cc = task
    launch = every_kernel()[number]
    return resources(launch.body, launch.types, cc)
