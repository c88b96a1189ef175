"""The learner's folder: the exercises and the lessons, written once and never over what is there."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from minicnn.io.files import write_whole
from minicnn.learn.exercises import EXERCISES, TASKS, Exercise
from minicnn.learn.lessons.files import copy_lessons

README = """# Backpropagation, by writing it

Every file `NN_name.py` is an exercise: read its first lines and the lesson that they name, write what is missing
(`...`), save, and ask

    minicnn learn check linear

for one exercise, `minicnn learn check` for all. What is wrong is shown number by number, and where the grader knows
the mistake it says which one it is. `minicnn learn solution TASK` shows the framework's own code, if you ask for it.

Where the terminal does not find `minicnn`, activate the environment in which it is installed (`source
ENVIRONMENT/bin/activate`; in PowerShell `ENVIRONMENT\\Scripts\\Activate.ps1`), or type `ENVIRONMENT/bin/minicnn`.

The lessons in `lessons/` are Python files as well: read them, change them, and run them with the Python of the same
environment, `python lessons/01_linear.py`. With `minicnn learn lessons --html pages` they become pages.

`minicnn learn start .` writes again what you have deleted, and leaves alone what you have changed.
"""


def start(folder: str | Path, exercises: Sequence[Exercise] = EXERCISES) -> list[Path]:
    """Write exercises, lessons and a README into a folder, made if need be; existing files stay as they are.

    Returns the paths that were written, in order. Raises OSError where the folder cannot be made or written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    texts = {"README.md": README} | {exercise.file: exercise.stub() for exercise in exercises}
    for name, text in texts.items():
        path = folder / name
        if not path.exists():
            write_whole(path, text.encode())
            written.append(path)
    lessons, _ = copy_lessons(folder / "lessons")
    return written + list(lessons)


def tasks_called(names: Iterable[str]) -> list[str]:
    """The names of tasks that `names` mean, in the order of the course: of a task, an exercise, or an exercise's file.

    Without names all tasks. Raises ValueError for a name that means none.
    """
    wanted = set()
    for name in names:
        plain = Path(name).name.removesuffix(".py")
        means = [
            task for task, (exercise, _) in TASKS.items() if plain in (task, exercise.name, Path(exercise.file).stem)
        ]
        if not means:
            exercises = ", ".join(exercise.name for exercise in EXERCISES)
            raise ValueError(f"there is no exercise or task {name!r}; expected one of {exercises}, or a task's name")
        wanted.update(means)
    return [task for task in TASKS if not names or task in wanted]
