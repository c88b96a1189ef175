"""The sub-commands together, and how errors are said."""

from typing import Any

import click

import minicnn
from minicnn.cli.compare import compare
from minicnn.cli.evaluate import evaluate
from minicnn.cli.export import export
from minicnn.cli.inspect import inspect
from minicnn.cli.learn import learn
from minicnn.cli.predict import predict
from minicnn.cli.sample import sample
from minicnn.cli.train import train


class Program(click.Group):
    """Says what goes wrong with a user's files and numbers in a sentence instead of a traceback; exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):  # click's own business
            raise
        except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as error:
            raise click.ClickException(str(error) or type(error).__name__) from error


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each command has its own help: minicnn train --help",
)
@click.version_option(minicnn.__version__, prog_name="minicnn")
def program() -> None:
    """Teach a small convolutional network to tell images apart, and use it.

    \b
    A folder with a sub-folder of images for each class is all it takes:
      minicnn sample photos                                     (or a folder of your own)
      minicnn train photos/train --output photos.safetensors
      minicnn evaluate photos.safetensors photos/test
      minicnn predict photos.safetensors unknown.jpg

    What a network computes, and how it learns, is seen in a page:

    \b
      minicnn inspect --digit 3
    """


for command in (sample, train, evaluate, predict, export, inspect, compare, learn):
    program.add_command(command)
