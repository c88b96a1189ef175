"""minicnn export: a model written for other programs."""

from pathlib import Path

import click

from minicnn.classify.classifier import Classifier
from minicnn.cli.files import OutputFile
from minicnn.interop.onnx import export_onnx


@click.command(short_help="Write a model for other programs.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--onnx", type=OutputFile(), help="Write an ONNX file, which onnxruntime and many others run.")
@click.option("--fold-batchnorm", is_flag=True, help="In ONNX: put batch normalisation into the convolutions' weights.")
@click.pass_context
def export(context: click.Context, model: Path, onnx: Path | None, fold_batchnorm: bool) -> None:
    """Write MODEL, which minicnn train made, in a form that other programs run.

    The ONNX file takes batches of images of any size, numbers from 0 to 1, and gives the probability of each class;
    names of the classes and how images are prepared are in its metadata.

    \b
    Example:
      minicnn export pets.safetensors --onnx pets.onnx
    """
    if onnx is None:
        raise click.UsageError("name the file to write: --onnx PATH.", context)
    export_onnx(Classifier.load(model), onnx, fold_batchnorm)
    click.echo(f"ONNX model: {click.format_filename(onnx)}")
