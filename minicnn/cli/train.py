"""minicnn train: a folder of images becomes a model."""

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from minicnn.classify.classifier import Classifier
from minicnn.classify.evaluate import evaluate
from minicnn.classify.temperature import temperature_of
from minicnn.classify.train import default_augment, train_classifier
from minicnn.cli.files import OutputFile
from minicnn.cli.network_file import in_file
from minicnn.cli.processes import job
from minicnn.data import ByCount, ByPixels, ImageFolder, near_duplicates
from minicnn.inspect.plots import draw_curves
from minicnn.io.figures import import_matplotlib, save_figure
from minicnn.network import Sequential, SimpleNet
from minicnn.training.group import Group
from minicnn.training.train_on import replace_head

NAMED = 3  # pairs of nearly the same image


@click.command(short_help="Learn to tell the images of a folder apart.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=OutputFile(), required=True, help="Where the model goes, a safetensors file.")
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="Passes over the images.")
@click.option("--batch-size", type=click.IntRange(1), help="Images in a batch.  [default: about 32]")
@click.option(
    "--batch-pixels",
    type=click.IntRange(1),
    help="Instead of --batch-size: pixels in a batch, about 1 KB of memory each; for large images.",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    default=0.004,
    show_default=True,
    help="Learning rate of Adam in the first epoch; it falls to nearly 0 in the last.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of all random numbers; the same seed gives the same model.",
)
@click.option(
    "--max-side",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Shrink larger images to this many pixels on the longer side; training takes about 1 KB of memory a pixel.",
)
@click.option("--grey", is_flag=True, help="Look at brightness only, one channel instead of three.")
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    help="Another folder of the same classes, to measure on after each epoch.",
)
@click.option(
    "--validation-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Without --validation: the share of the images that is set aside for it; of each class at least one.",
)
@click.option(
    "--augment/--no-augment",
    default=False,
    show_default=True,
    help="Also show each image mirrored, larger, smaller, in other light. Not where left and right differ.",
)
@click.option(
    "--balance",
    is_flag=True,
    help="Let every class count for as much, however few images it has, so that rare ones are not passed over.",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Make its probabilities as sure as it is right on the images to validate (temperature scaling).",
)
@click.option(
    "--network",
    metavar="FILE.py:NAME",
    help="Your network: a Python file, and in it what makes one when called with (num_classes, in_channels, rng=seed), "
    "or a network.  [default: a SimpleNet]",
)
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path),
    help="A model to train on from; where its classes are others, its last layer is a new one.",
)
@click.option("--curves", type=OutputFile(".png"), help="Write a figure of loss and accuracy over the epochs.")
@click.option("--resume", is_flag=True, help="Go on with the run that was stopped, given the same options.")
@click.option("--overwrite", is_flag=True, help="Replace a model, or a stopped run, that is there already.")
@click.option(
    "--distributed",
    is_flag=True,
    help="Share every batch among the ranks of an MPI job: mpiexec -n 4 minicnn train ... --distributed",
)
@click.pass_context
def train(
    context: click.Context,
    folder: Path,
    output: Path,
    epochs: int,
    batch_size: int | None,
    batch_pixels: int | None,
    lr: float,
    seed: int,
    max_side: int,
    grey: bool,
    validation: Path | None,
    validation_share: float,
    augment: bool,
    balance: bool,
    calibrate: bool,
    network: str | None,
    start: Path | None,
    curves: Path | None,
    resume: bool,
    overwrite: bool,
    distributed: bool,
) -> None:
    """Learn to tell the images of FOLDER apart, and write the model to a file.

    FOLDER has a sub-folder for each class, with images of any sizes. A part of them is set aside to see after each
    epoch how well the network does on images it does not learn from; the best epoch is kept.

    Ctrl-C stops and writes what was learnt so far; the same command with --resume goes on from there. Other options or
    images than the run was begun with are refused then.

    \b
    Example:
      minicnn train photos/train --output photos.safetensors
    """
    if batch_size and batch_pixels:
        raise click.UsageError("--batch-size and --batch-pixels exclude each other.", context)
    if network and start:
        raise click.UsageError("--network and --from exclude each other.", context)
    if curves:
        import_matplotlib()  # fail now rather than after the work
    run = output.with_name(f"{output.name}.run")  # where a stopped run is kept
    with job(distributed) as group:
        group.all(lambda: _refuse_to_overwrite(context, output, run, resume, overwrite))
        order: ByCount | ByPixels | None = ByCount(batch_size, shuffle=True) if batch_size else None
        order = ByPixels(batch_pixels, shuffle=True) if batch_pixels else order
        channels = 1 if grey else 3
        # Listed, and its headers read, by the first of the processes alone.
        image_folder = group.first(lambda: ImageFolder(folder, channels=channels, max_side=max_side))
        if validation is None:
            several = int(np.count_nonzero(np.bincount(image_folder.labels) > 1))  # of each of these at least one
            n_held_out = max(1, several, round(validation_share * len(image_folder)))
            training, held_out = image_folder.split(n_held_out, rng=seed)
            sources = [image_folder]
        else:
            training = image_folder
            held_out = group.first(lambda: ImageFolder(validation, channels=channels, max_side=max_side))
            sources = [training, held_out]
        if group.rank == 0:
            click.echo(
                f"{len(training)} images to train, {len(held_out)} to validate, "
                f"of {len(image_folder.class_names)} classes: {', '.join(image_folder.class_names)}"
            )
        group.first(lambda: _warn_of_duplicates(training, held_out))
        chosen: Sequential | Callable[..., Sequential] = SimpleNet
        if network is not None:
            chosen = in_file(network, context, lambda make: make(len(image_folder.class_names), channels, rng=seed))
            if not isinstance(chosen, Sequential):
                kind = type(chosen).__name__
                raise click.ClickException(f"--network: expected {network} to make a network, got {kind}")
        elif start is not None:
            chosen = _train_on(start, image_folder.class_names, seed, group)
        classifier, trainer = train_classifier(
            training,
            held_out,
            epochs=epochs,
            order=order,
            lr=lr,
            augment=default_augment if augment else None,
            balance=balance,
            seed=seed,
            network=chosen,
            checkpoint=run,
            resume=resume,
            overwrite=overwrite,
            group=group,
        )
        for source in sources:  # each process has met the bad files of its share
            for problems in group.exchanged(source.problems):
                source.add_problems(problems)

        def keep() -> None:
            if calibrate:
                result = evaluate(classifier, held_out)
                classifier.temperature = temperature_of(result.probabilities, result.labels)
                click.echo(f"calibrated: temperature {classifier.temperature:.3f}")
            classifier.save(output)
            if trainer.interrupted:
                click.echo(f"the run is kept in {run}; the same command with --resume goes on")
            else:
                run.unlink(missing_ok=True)
            _report(classifier, held_out)
            click.echo(f"model: {output}")
            if curves:
                save_figure(draw_curves(trainer.history), curves)
                click.echo(f"curves: {curves}")
            for source in sources:
                if source.problems:
                    click.echo(f"{source.path}: {source.summary()}", err=True)

        group.first(keep)


def _warn_of_duplicates(training: ImageFolder, held_out: ImageFolder) -> None:
    """Say which images to validate are nearly the same as images to train."""
    pairs = near_duplicates(training, held_out)
    if not pairs:
        return
    named = [f"{path} and {other}" for path, other in pairs[:NAMED]]
    more = [f"and {len(pairs) - NAMED} more"] if len(pairs) > NAMED else []
    click.echo(
        f"warning: images to validate that are nearly the same as images to train: {len(pairs)} "
        f"({'; '.join(named + more)}); on them the network looks better than it is",
        err=True,
    )


def _train_on(start: Path, class_names: list[str], seed: int, group: Group) -> Sequential:
    """The network of a model, with a new last layer where its classes are not these."""
    model = group.first(lambda: Classifier.load(start))
    say = click.echo if group.rank == 0 else lambda _: None
    if model.class_names == class_names:
        say(f"training on from {start}")
        return model.network
    say(f"training on from {start}, with a new last layer: its classes are {', '.join(model.class_names)}")
    return replace_head(model.network, len(class_names), rng=seed)


def _refuse_to_overwrite(context: click.Context, output: Path, run: Path, resume: bool, overwrite: bool) -> None:
    """End the program where an earlier model or run would be lost, and say how it is kept."""
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other.", context)
    if resume and not run.is_file():
        raise click.ClickException(f"nothing to resume, there is no file {click.format_filename(run)}")
    if resume or overwrite:
        return
    if run.is_file():
        raise click.UsageError(
            f"a run that was stopped is kept in {click.format_filename(run)}; go on with it by --resume, give another "
            "--output, or begin anew by --overwrite.",
            context,
        )
    if output.is_file():
        raise click.UsageError(
            f"there is {click.format_filename(output)} already; give another --output, or replace it by --overwrite.",
            context,
        )


def _report(classifier: Classifier, held_out: ImageFolder) -> None:
    """Print the model's accuracy, and that of always naming the largest class."""
    result = evaluate(classifier, held_out)
    name = classifier.class_names[np.bincount(result.labels).argmax()]
    click.echo(
        f"validation accuracy: {result.accuracy:.4f}    "
        f"(always saying {name}, the largest class: {result.largest_share:.4f})"
    )
