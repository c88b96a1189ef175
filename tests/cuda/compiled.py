"""Every kernel of the cuda backend in float32, compiled for every architecture, a process for each core."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from tests.cuda.recorded import every_kernel
from tests.cuda.resources import MULTIPROCESSORS, resources


def compiled(architectures=tuple(MULTIPROCESSORS)):
    """[(launch, {architecture: its Resources})] of every kernel."""
    tasks = [(number, cc) for number in range(len(every_kernel())) for cc in architectures]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        found = dict(zip(tasks, pool.map(_resources, tasks, chunksize=len(architectures)), strict=True))
    return [(launch, {cc: found[number, cc] for cc in architectures}) for number, launch in enumerate(every_kernel())]


def _resources(task):
    """Kernels cannot be sent to another process, but it can find the same ones."""
    number, cc = task
    launch = every_kernel()[number]
    return resources(launch.body, launch.types, cc)
