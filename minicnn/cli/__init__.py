"""The program `minicnn`. Each sub-command is a file here, and a thin skin over public functions.

program.py     the sub-commands together, and how errors are said
sample.py      minicnn sample FOLDER
train.py       minicnn train FOLDER --output MODEL
evaluate.py    minicnn evaluate MODEL FOLDER
predict.py     minicnn predict MODEL IMAGE…
export.py      minicnn export MODEL --onnx PATH --c PATH
inspect.py     minicnn inspect IMAGE
compare.py     minicnn compare RECORDING
processes.py   the ranks of an MPI job, for --distributed
"""

import sys


def main() -> None:
    """Run the program on the arguments in sys.argv, and exit."""
    try:
        import click  # noqa: F401, to say what is missing before anything else fails
    except ImportError:
        sys.exit("error: the program minicnn needs click, get it with: pip install 'minicnn-numba[images]'")
    from minicnn.cli.program import program
    from minicnn.io.output import take_every_character

    take_every_character()
    program(prog_name="minicnn")
