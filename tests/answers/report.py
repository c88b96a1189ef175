"""What the grader says of every wrong answer, beside what a teacher would say, to be read by people who then count.

python -m tests.answers.report [a piece of a task's name or title] > report.txt
"""

import sys
import tempfile
from pathlib import Path

from tests.answers import answers
from tests.answers.judging import judged


def main(piece: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for answer in answers("wrong"):
            if piece in str(answer):
                verdict = judged(answer.task, answer.code, Path(folder))
                print(f"{'=' * 100}\n{answer}\n\n{answer.code}\nA teacher: {answer.teacher}\n\n{verdict}\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
