"""SimpleNet trained with a learner's functions, and beside it with the framework's."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicnn.backends import get_backend
from minicnn.backends.protocol import OPERATIONS
from minicnn.data import Batches, load_digits
from minicnn.io.files import open_regular
from minicnn.learn.exercises import TASKS
from minicnn.learn.grader.running import TEXT
from minicnn.losses import CrossEntropyLoss
from minicnn.network import SimpleNet
from minicnn.optim import Adam
from minicnn.training.trainer import Trainer

BATCH_SIZE, LR = 64, 0.004


@dataclass(frozen=True)
class TrainingComparison:
    """SimpleNet on handwritten digits, trained twice from the same weights on the same batches.

    Attributes:
        yours, ours: the histories of the two runs, see `Trainer`.
        operations: dict from the name of an operation that was called to (calls, seconds of yours, seconds of ours),
            over the whole run.
    """

    yours: list[dict[str, Any]]
    ours: list[dict[str, Any]]
    operations: dict[str, tuple[int, float, float]]


def operations_among(tasks: Iterable[str]) -> list[str]:
    """Those of the tasks that are operations, of a layer, the loss or the optimiser, and so can replace them."""
    return [task for task in tasks if task in OPERATIONS]


def load(folder: str | Path, tasks: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """The learner's functions of these tasks, as a dict, from the files in `folder`; the code of the files is run here.

    Raises OSError where a file cannot be read, ValueError where it has no such function, and whatever its code raises.
    """
    functions: dict[str, Callable[..., Any]] = {}
    files: dict[Path, dict[str, Any]] = {}
    for task in tasks:
        path = Path(folder) / TASKS[task][0].file
        if path not in files:
            files[path] = {"__name__": "learner", "__file__": str(path)}
            with open_regular(path) as file:
                exec(compile(file.read().decode(TEXT), str(path), "exec"), files[path])
        if not callable(files[path].get(task)):
            raise ValueError(f"load: expected a function {task} in {path}, got none")
        functions[task] = files[path][task]
    return functions


def train(
    functions: Mapping[str, Callable[..., Any]],
    epochs: int = 3,
    seed: int = 0,
    say: Callable[[str], object] | None = None,
) -> TrainingComparison:
    """Train SimpleNet on scikit-learn's digits with these operations, and with the framework's.

    Both run on one thread, and what is counted is time of the processor: threads that wait for a busy core, and other
    programs, count for nobody. With `say` it is told what begins: each run, and each epoch of it.

    Raises what the functions raise, RuntimeError where the loss becomes infinite or NaN, ImportError without
    scikit-learn.
    """
    times: dict[str, list[Any]] = {name: [0, 0.0, 0.0] for name in functions}
    from minicnn.backends.cpu.runtime.jit import one_thread  # here, so that importing the course need not import numba

    backend = get_backend("cpu")
    timed_yours = {name: _timed(function, times[name], 1) for name, function in functions.items()}
    timed_ours = {name: _timed(getattr(backend, name), times[name], 2) for name in functions}
    say = say or (lambda text: None)
    with one_thread():
        say("training with the framework's functions:")
        ours = _history(timed_ours, epochs, seed, say)  # first, so that kernels are compiled apart from the times
        for of_name in times.values():
            of_name[0] = 0
        say("training with yours:")
        yours = _history(timed_yours, epochs, seed, say)
    called = {name: (calls, of_yours, of_ours) for name, (calls, of_yours, of_ours) in times.items() if calls}
    return TrainingComparison(yours, ours, called)


def _history(
    operations: Mapping[str, Callable[..., Any]], epochs: int, seed: int, say: Callable[[str], object]
) -> list[dict[str, Any]]:
    """The history of a run with these operations in every layer, the loss and the optimiser."""
    digits = load_digits()
    training, validation = digits.train.split(144, rng=seed)
    network = SimpleNet(num_classes=10, in_channels=1, rng=seed).use(**operations)
    loss, optimizer = CrossEntropyLoss(), Adam(network, lr=LR)
    trainer = Trainer(network, loss, optimizer, fuse=False, quiet=True)
    trainer.compile_kernels()
    batches = _Announced(training.images, training.labels, BATCH_SIZE, shuffle=True, rng=seed)
    batches.say = say
    return trainer.fit(batches, [(validation.images, validation.labels)], epochs)


class _Announced(Batches):
    """Batches that tell when an epoch begins."""

    epoch = 0
    say: Callable[[str], object]

    def __iter__(self) -> Iterator[Any]:
        self.epoch += 1
        self.say(f"  epoch {self.epoch}")
        yield from super().__iter__()


def _timed(function: Callable[..., Any], of_name: list[Any], column: int) -> Callable[..., Any]:
    """The function, whose calls and seconds are added to `of_name`."""

    def timed(*arguments: Any) -> Any:
        started = time.process_time()
        returned = function(*arguments)
        of_name[0] += 1
        of_name[column] += time.process_time() - started
        return returned

    return timed
