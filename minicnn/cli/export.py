"""minicnn export: a model written for other programs."""

from pathlib import Path

import click

from minicnn.classify.classifier import Classifier
from minicnn.cli.files import OutputFile
from minicnn.interop.c import export_c
from minicnn.interop.onnx import export_onnx


@click.command(short_help="Write a model for other programs.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--onnx", type=OutputFile(), help="Write an ONNX file, which onnxruntime and many others run.")
@click.option("--fold-batchnorm", is_flag=True, help="In ONNX: put batch normalisation into the convolutions' weights.")
@click.option("--c", "c_file", type=OutputFile(".c"), help="Write one file of C99, which any C compiler compiles.")
@click.option("--max-height", type=click.IntRange(1), help="In C: the most rows an image may have.")
@click.option("--max-width", type=click.IntRange(1), help="In C: the most columns an image may have.")
@click.pass_context
def export(
    context: click.Context,
    model: Path,
    onnx: Path | None,
    fold_batchnorm: bool,
    c_file: Path | None,
    max_height: int | None,
    max_width: int | None,
) -> None:
    """Write MODEL, which minicnn train made, in a form that other programs run.

    The ONNX file takes batches of images of any size, numbers from 0 to 1, and gives the probability of each class;
    names of the classes and how images are prepared are in its metadata.

    The C file needs nothing but the standard headers and no malloc: its memory is for images of up to --max-height x
    --max-width pixels (else, of a model trained with --max-side, that many). It is a program, too:
    gcc -O3 -DMINICNN_MAIN photos.c -o photos-c -lm && ./photos-c cat.ppm

    \b
    Examples:
      minicnn export photos.safetensors --onnx photos.onnx
      minicnn export photos.safetensors --c photos.c --max-height 64 --max-width 64
    """
    if onnx is None and c_file is None:
        raise click.UsageError("name the file to write: --onnx PATH or --c PATH.", context)
    classifier = Classifier.load(model)
    height, width = max_height or classifier.max_side, max_width or classifier.max_side
    if c_file is not None and (height is None or width is None):
        raise click.UsageError("say how large the images may be: --max-height and --max-width.", context)
    if onnx is not None:
        export_onnx(classifier, onnx, fold_batchnorm)
        click.echo(f"ONNX model: {click.format_filename(onnx)}")
    if c_file is not None and height is not None and width is not None:
        export_c(classifier, c_file, height, width)
        click.echo(f"C file: {click.format_filename(c_file)}")
