"""minicnn compare: a network compared with a recording of PyTorch's, array by array."""

from pathlib import Path

import click
from rich.console import Console

from minicnn.cli.network_file import network_in
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
    mine = _simple_net(trace, context) if network is None else network_in(network, context)
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
