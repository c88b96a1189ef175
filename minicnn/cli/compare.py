"""minicnn compare: a network compared with a recording of PyTorch's, array by array."""

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from minicnn.network import Sequential, SimpleNet
from minicnn.training.checkpoint import load_weights
from minicnn.verify.compare import compare as compared
from minicnn.verify.compare.recording import load
from minicnn.verify.compare.trace import Trace


@click.command(short_help="Find where a network and PyTorch's first part.")
@click.argument("recording", type=click.Path(path_type=Path))
@click.option(
    "--network",
    metavar="FILE.py:NAME",
    help="Your network: a Python file, and in it a network or what makes one when called.  [default: a SimpleNet]",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="The network's weights, a safetensors file.  [default: of a SimpleNet those of RECORDING]",
)
@click.option("--copy-weights", is_flag=True, help="Start your network from the weights of RECORDING.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    help="How far a number may be off, relative to the largest of its array.  [default: float32 1e-5, float64 1e-10]",
)
@click.pass_context
def compare(
    context: click.Context,
    recording: Path,
    network: str | None,
    model: Path | None,
    copy_weights: bool,
    tolerance: float | None,
) -> None:
    """Make the training step of RECORDING with a minicnn network, and compare every array of it.

    Outputs and gradients layer by layer, running statistics, parameters after the optimiser's step. The first
    divergence is highlighted; what only follows from it is told from what is wrong by itself. Exit status 1 where
    they differ. RECORDING is written where PyTorch is, by minicnn.verify.compare.record(module, x, y, "recording").

    \b
    Examples:
      minicnn compare recording.safetensors --model weights.safetensors
      minicnn compare recording.safetensors --network mine.py:MyNet --copy-weights
    """
    if copy_weights and model is not None:
        raise click.UsageError("--copy-weights and --model exclude each other.", context)
    trace = load(recording)
    if network is None:
        copy_weights = model is None
    mine = _simple_net(trace, context) if network is None else _network(network, context)
    mine.to(dtype=trace.setup.x.dtype)
    if model is not None:
        load_weights(mine, model)
    comparison = compared(mine, recording, copy_weights=copy_weights, tolerance=tolerance)
    console = Console(highlight=False, emoji=False)
    if console.is_terminal:
        console.print(comparison)
    else:
        click.echo(str(comparison))
    context.exit(0 if comparison else 1)


def _simple_net(trace: Trace, context: click.Context) -> Sequential:
    """A SimpleNet for the shapes of a recording."""
    x, output = trace.setup.x, trace.output
    if x.ndim != 4:
        raise click.UsageError(
            f"the recording's x has shape {x.shape}, and SimpleNet takes images (N, C, H, W); give your own --network.",
            context,
        )
    return SimpleNet(num_classes=output.shape[1], in_channels=x.shape[1], rng=0)


def _network(place: str, context: click.Context) -> Sequential:
    """The network that FILE.py:NAME means."""
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name:
        raise click.UsageError(f"--network: expected FILE.py:NAME, got {place!r}.", context)
    if not Path(file).is_file():
        raise click.ClickException(f"--network: no file {file}")
    made = _made(file, name)
    if not isinstance(made, Sequential):
        raise click.ClickException(f"--network: expected {name} to be or to make a network, got {type(made).__name__}")
    return made


def _made(file: str, name: str) -> Any:
    """What is called `name` in a Python file, or what it makes. What goes wrong in the file is told with its line."""
    spec = importlib.util.spec_from_file_location("network_to_compare", file)
    assert spec is not None  # since the file's name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(Path(file).resolve().parent)
    sys.modules[spec.name] = module  # as an import would, for what looks itself up there
    sys.path.insert(0, folder)  # as python FILE.py would, for its neighbours
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, name):
            raise click.ClickException(f"--network: there is no {name} in {file}")
        found = getattr(module, name)
        return found if isinstance(found, Sequential) or not callable(found) else found()
    except click.ClickException:
        raise
    except Exception as error:
        raise click.ClickException(f"--network: {_where(file, spec.origin, error)}: {error}") from error
    finally:
        sys.path.remove(folder)


def _where(file: str, origin: str | None, error: Exception) -> str:
    """The file, and the last line of it that the error came through, and the error's kind."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin]
    lines += [error.lineno] if isinstance(error, SyntaxError) and error.filename == origin else []
    return f"{file}{f', line {lines[-1]}' if lines else ''}: {type(error).__name__}"
