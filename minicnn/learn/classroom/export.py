"""A class set: what the students get, what stays with the teacher, and what marks it.

README.md            what is what, for the teacher
students/            exercises and lessons, to be handed out
worksheets/          pages to be printed
answers/             the exercises solved, and the keys to the worksheets
test_exercises.py    a test for each task, for pytest
pytest.ini           so that pytest here runs that file and nothing of the submissions
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from minicnn.io.files import write_whole
from minicnn.learn.exercises import EXERCISES, TASKS
from minicnn.learn.practice.folder import start, tasks_called
from minicnn.learn.worksheets import WORKSHEETS, as_page, worksheet

README = """# A class set on backpropagation

{exercises}

- `students/` is for the students: exercises, lessons, a README. Hand it out as it is.
- `worksheets/` are pages to print, to be done with a pencil before the exercise that they are about.
- `answers/` is for you: the exercises solved, and the keys to the worksheets.

The numbers of the worksheets come from seed {seed}. `minicnn learn export DIR --seed {other}` makes other ones, and
`minicnn learn worksheet NAME --format markdown` makes a sheet that you can edit.

## Marks

Put what is handed in into a folder for each student, and ask for the marks of all:

    minicnn learn marks submissions/*{only} --json marks.json --csv marks.csv

Each task runs in a process of its own, with limits of time and memory. That stops accidents and pranks: a loop without
end, a deleted function, a program that ends its grader. It is no prison. Code that you do not trust belongs into a
container or a virtual machine.

With pytest, for the automatic tests of a classroom, one submission at a time; what fails says what the grader says.
pytest and minicnn must be installed in the same environment, and `python` must be that environment's:

    SUBMISSION=submissions/ada python -m pytest

In PowerShell: `$env:SUBMISSION = "submissions/ada"; python -m pytest`. Without SUBMISSION the folder of
`test_exercises.py` is graded, so that the file can also lie in each student's repository.
"""

TESTS = '''"""One test for each task: it passes where the grader says “right”, and fails with what the grader says.

    SUBMISSION=submissions/ada python -m pytest test_exercises.py

pytest and minicnn must be installed in the same environment.

Without SUBMISSION the exercises beside this file are graded.
"""

import os
from pathlib import Path

import pytest

from minicnn.learn.exercises import TASKS
from minicnn.learn.grader import check

FOLDER = Path(os.environ.get("SUBMISSION", Path(__file__).parent))


@pytest.mark.parametrize(
    "task",
    [
{tasks}
    ],
)
def test_task(task):
    exercise, _ = TASKS[task]
    verdict = check(FOLDER / exercise.file, task)
    if not verdict.passed:
        pytest.fail(str(verdict), pytrace=False)
'''

PYTEST = "[pytest]\ntestpaths = test_exercises.py\n"


def export(folder: str | Path, names: Collection[str] = (), seed: int = 0) -> list[str]:
    """Write a class set into a folder, made if need be; of the tasks that `names` mean (`tasks_called`), or of all.

    `seed` is that of the worksheets' numbers. Returns the tasks, a list of names.

    Raises ValueError for a name that means no task and for a folder that is not empty, OSError where it cannot be
    written.
    """
    folder = Path(folder)
    tasks = tasks_called(names)
    exercises = [exercise for exercise in EXERCISES if any(TASKS[task][0] is exercise for task in tasks)]
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"export: expected a new or empty folder, got {folder}, which is not empty")
    start(folder / "students", exercises)
    _write(folder / "answers", {exercise.file: exercise.solution() for exercise in exercises})
    chosen = _worksheets_with({exercise.name for exercise in exercises})
    _write(folder / "worksheets", {file: as_page(name, seed) for name, file in chosen.items()})
    _write(
        folder / "answers" / "worksheets", {file: as_page(name, seed, answers=True) for name, file in chosen.items()}
    )
    texts = {
        "README.md": README.format(
            exercises="\n".join(f"{exercise.number}. {exercise.title}" for exercise in exercises),
            only=f" --only {','.join(names)}" if names else "",
            seed=seed,
            other=seed + 1,
        ),
        "test_exercises.py": TESTS.format(tasks="\n".join(f'        "{task}",' for task in tasks)),
        "pytest.ini": PYTEST,
    }
    _write(folder, texts)
    return tasks


def _worksheets_with(exercises: set[str]) -> dict[str, str]:
    """{name: file} of the worksheets that go with any of these exercises."""
    numbered = enumerate(WORKSHEETS, start=1)
    return {name: f"{n:02}_{name}.html" for n, name in numbered if exercises.intersection(worksheet(name).exercises)}


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(folder / name, text.encode())
