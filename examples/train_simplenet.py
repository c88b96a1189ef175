"""Train SimpleNet: the published program on its random batch, then real images.

Without arguments: ten epochs of the published run, then handwritten digits with a validation split, the accuracy
on the test set, and a figure of the curves. All options: --help.
"""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

import minicnn
import minicnn.distributed
from minicnn.data import Batches, load_cifar10, load_digits, load_fashion_mnist, published_batch, standardised
from minicnn.io.files import require_writable
from minicnn.io.output import take_every_character
from minicnn.training.group import Group
from minicnn.training.progress import reporter

OPTIMIZERS = {"sgd": minicnn.SGD, "adam": minicnn.Adam, "adamw": minicnn.AdamW}
# What each set of images is trained with unless the options say otherwise.
DEFAULTS = {
    "random": {"epochs": 10, "lr": 0.001},
    "digits": {"epochs": 12, "lr": 0.004, "batch_size": 32},
    "fashion-mnist": {"epochs": 3, "lr": 0.004, "batch_size": 128},
    "cifar10": {"epochs": 10, "lr": 0.004, "batch_size": 128},
}
VALIDATION_SHARE = 0.1


def main():
    take_every_character()
    options = parse_options()
    try:
        with minicnn.distributed.world() if options.distributed else nullcontext(Group()) as group:
            run(options, group)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        sys.exit(f"error: {error}")


def run(options, group):
    """What the options ask for, on the processes of the group."""
    try:
        if options.data in (None, "random"):
            run_published(options, group)
        if options.data != "random":
            run_on_images(options.data or "digits", options, group)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        sys.exit(f"error: {error}")


def parse_options():
    parser = argparse.ArgumentParser(
        description="Train SimpleNet. Without options: the published run on a random batch, then the digits.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  %(prog)s --data fashion-mnist --epochs 5\n"
        "  %(prog)s --data digits --checkpoint run.safetensors      (stop it with Ctrl-C)\n"
        "  %(prog)s --data digits --resume run.safetensors          (and it goes on)\n"
        "  mpiexec -n 4 python -m mpi4py %(prog)s --distributed     (on four processes)\n",
    )
    add = parser.add_argument
    add("--data", choices=list(DEFAULTS), help="train on these images only")
    add("--data-dir", type=Path, metavar="DIR", help="folder of the files of Fashion-MNIST or CIFAR-10")
    add(
        "--backend",
        choices=("cpu", "cuda", "reference"),
        default="cpu",
        help="cpu (fast, the default), cuda (on an NVIDIA GPU) or reference (readable)",
    )
    add("--plain", action="store_true", help="layer by layer: a breakpoint in Conv2d.backward is reached; slower")
    add("--optimizer", choices=list(OPTIMIZERS), default="adam", help="adam unless given")
    add("--lr", type=float, help="learning rate; 0.001 for the random batch, 0.004 for images unless given")
    add("--epochs", type=int, help="passes over the training images, those of a resumed run included")
    add("--batch-size", type=int, metavar="N", help="images in a batch; 10, 32 or 128, by the data, unless given")
    add(
        "--seed",
        type=int,
        default=0,
        help="for the first weights, the split and the order of the images; 0 unless given",
    )
    add("--checkpoint", type=Path, metavar="FILE", help="write the run here after each epoch, and on Ctrl-C")
    add(
        "--resume", type=Path, metavar="FILE", help="go on with the run that --checkpoint wrote, given the same options"
    )
    add("--overwrite", action="store_true", help="replace a file that --checkpoint finds there already")
    add(
        "--init-weights",
        type=Path,
        metavar="FILE",
        help="start from these weights, a safetensors file from PyTorch or minicnn",
    )
    add(
        "--distributed",
        action="store_true",
        help="share every batch among the ranks of an MPI job, started with mpiexec",
    )
    add(
        "--plot",
        type=Path,
        metavar="FILE",
        help="where the figure of the curves goes; simplenet-DATA.png unless given",
    )
    options = parser.parse_args()
    for name, least in (("epochs", 1), ("batch_size", 1), ("lr", 0)):
        value = getattr(options, name)
        if value is not None and not value >= least:
            parser.error(f"--{name.replace('_', '-')}: expected at least {least}, got {value}")
    # What is not for the run at hand is refused rather than passed over.
    not_for = {
        None: ("checkpoint", "resume", "init_weights", "data_dir"),
        "random": ("checkpoint", "resume", "batch_size", "data_dir", "plot"),
        "digits": ("data_dir",),
    }
    for name in not_for.get(options.data, ()):
        if getattr(options, name) is not None:
            run = "without --data" if options.data is None else f"with --data {options.data}"
            parser.error(f"--{name.replace('_', '-')} has no meaning {run}")
    checkpoint, resumed = options.checkpoint, options.resume and options.resume.resolve()
    if checkpoint and checkpoint.is_file() and checkpoint.resolve() != resumed and not options.overwrite:
        parser.error(
            f"--checkpoint: {checkpoint} is there already; go on with it by --resume {checkpoint}, "
            "name another file, or replace it by --overwrite"
        )
    for name in ("checkpoint", "plot"):  # rather now than after the work
        path = getattr(options, name)
        try:
            if path is not None:
                require_writable(path)
        except OSError as error:
            parser.error(f"--{name}: {error}")
    return options


def setting(name, data, options):
    """The option called `name`, or its default for `data`."""
    value = getattr(options, name)
    return DEFAULTS[data][name] if value is None else value


def make_network(data, options, num_classes, in_channels):
    network = minicnn.SimpleNet(num_classes, in_channels, rng=options.seed).to(options.backend)
    if options.init_weights is not None:
        minicnn.load_weights(network, options.init_weights)
    optimizer_arguments = {"momentum": 0.9} if options.optimizer == "sgd" else {}
    optimizer = OPTIMIZERS[options.optimizer](network, lr=setting("lr", data, options), **optimizer_arguments)
    return network, optimizer, minicnn.CrossEntropyLoss()


def run_published(options, group):
    """One batch of random images with random labels, learnt by heart: the published program."""
    network, optimizer, loss = make_network("random", options, num_classes=10, in_channels=3)
    trainer = minicnn.Trainer(network, loss, optimizer, fuse=not options.plain, group=group)
    x, y = published_batch(rng=options.seed)
    with reporter(quiet=group.rank > 0) as report:
        trainer.compile_kernels(report.compiling)
    for epoch in range(setting("epochs", "random", options)):
        say(group, f"Epoch {epoch} - loss: {trainer.step(x, y)}")


def say(group, text):
    """Print it once, whatever the number of processes."""
    if group.rank == 0:
        print(text, flush=True)


def run_on_images(data, options, group):
    """Real images: train, keep the epoch that is best on the validation part, measure on the test part, plot."""
    dataset = standardised(load(data, options.data_dir))
    train, validation = dataset.train.split(round(VALIDATION_SHARE * len(dataset.train)), rng=options.seed)
    counts = f"{len(train)} to train, {len(validation)} to validate, {len(dataset.test)} to test"
    say(group, f"\n{dataset.source}: {counts}")

    in_channels = train.images.shape[1]
    network, optimizer, loss = make_network(data, options, len(dataset.class_names), in_channels)
    epochs, batch_size = setting("epochs", data, options), setting("batch_size", data, options)
    batches = Batches(train.images, train.labels, batch_size, shuffle=True, rng=options.seed)
    # The learning rate falls along half a cosine to 0 at the last step of the last epoch.
    schedule = minicnn.CosineAnnealingLR(optimizer, T_max=epochs * len(batches))
    trainer = minicnn.Trainer(
        network,
        loss,
        optimizer,
        schedule=schedule,
        schedule_every="batch",
        keep_best=True,
        fuse=not options.plain,
        checkpoint=options.checkpoint,
        settings={
            "data": data,
            "optimizer": options.optimizer,
            "lr": setting("lr", data, options),
            "epochs": epochs,
            "batch-size": batch_size,
            "seed": options.seed,
            "init-weights": options.init_weights and str(options.init_weights),
        },
        group=group,
    )
    if options.resume is not None:
        trainer.load(options.resume, batches)
        say(group, f"going on with {options.resume}, after {trainer.epoch} epochs and {optimizer.steps} steps")
    trainer.fit(batches, Batches(validation.images, validation.labels, 500), epochs=max(0, epochs - trainer.epoch))

    measured = trainer.evaluate(Batches(dataset.test.images, dataset.test.labels, 500))
    say(group, f"test accuracy: {measured['accuracy']:.4f}")
    if trainer.history and group.rank == 0:
        path = options.plot or Path(f"simplenet-{data}.png")
        plot_history(trainer.history, f"SimpleNet on {dataset.name}, test accuracy {measured['accuracy']:.3f}", path)
        print(f"curves: {path}")


def load(data, folder):
    if data == "digits":
        return load_digits()
    if data == "fashion-mnist":
        return load_fashion_mnist(folder)
    return load_cifar10(folder or ".")


def plot_history(history, title, path):
    """Loss and accuracy of each epoch, training and validation, as a figure."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "the figure of the curves needs matplotlib, which is not installed; get it with: pip install matplotlib"
        ) from error
    matplotlib.use("Agg")  # draws into a file, and needs no screen
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, column in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, [row[column] for row in history], "o-", label="training, before each step")
        axis.plot(epochs, [row[f"val_{column}"] for row in history], "s--", label="validation, after the epoch")
        axis.set(xlabel="epoch", ylabel=column)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
