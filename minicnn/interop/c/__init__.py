"""A trained network as one C file: C99, no malloc, nothing but the standard headers.

chain.py        which networks can be written, and the shapes of what goes from layer to layer
templates.py    the C of each layer
layers.py       which fills it in
file.py         the whole file: head, layers, the function that calls them, a program that reads an image file
text.py         numbers, names and texts as C writes them
"""

from pathlib import Path

from minicnn.classify.classifier import Classifier
from minicnn.interop.c.chain import chain_of
from minicnn.interop.c.file import c_file
from minicnn.io.files import write_whole
from minicnn.network import Sequential


def export_c(model: Sequential | Classifier, path: str | Path, max_height: int, max_width: int) -> None:
    """Write what `model` computes in evaluation mode to a C file, whole or not at all.

        int minicnn_predict(const float *image, int height, int width, float *output);

    takes one image (C, height, width) of any size up to the largest, writes what `network.predict` gives to `output`,
    and returns how many numbers that is, or a number below 0 for an image it cannot take. The file's head says how much
    memory that takes. Compiled with -DMINICNN_MAIN the file is a program that reads a PGM or PPM image.

    A network of float64 is computed in double. A fused network is written as its layers. Of a `Classifier` the function
    takes images from 0 to 1 and normalises them, and the file has the names of the classes.

    Args:
        model: a network whose output is a vector, or a classifier with its network.
        path: the file.
        max_height, max_width: of the largest image; memory is set aside for it, and the network must take it.

    Raises:
        TypeError: a layer of your own, a layer given operations by `use`, arrays of different dtypes.
        ValueError: NaN or infinity in the weights, layers that do not fit one another or the largest image, images
            larger than the `max_side` of a classifier, names of more than 4095 bytes.
        OSError: `path` cannot be written.

    >>> import tempfile, minicnn
    >>> network = minicnn.Sequential(minicnn.Flatten(), minicnn.Linear(4, 3, rng=0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.c"
    ...     export_c(network, path, max_height=2, max_width=2)
    ...     print(*(line for line in path.read_text().splitlines() if line.startswith("static Shape")))
    static Shape run_1(const float *x, Shape in, float *y)
    """
    classifier = None
    if isinstance(model, Classifier):
        # Its attributes may have been set since it was made, and the constructor checks them.
        classifier = Classifier(model.network, model.class_names, model.mean, model.std, model.max_side)
    links = chain_of(model.network if isinstance(model, Classifier) else model, max_height, max_width)
    if classifier is not None:
        _require_unshrunk(classifier, max_height, max_width)
    write_whole(path, c_file(links, classifier).encode("ascii"))


def _require_unshrunk(classifier: Classifier, max_height: int, max_width: int) -> None:
    """Raise ValueError where images would be taken that the classifier shrinks before it sees them."""
    if classifier.max_side is not None and max(max_height, max_width) > classifier.max_side:
        raise ValueError(
            f"export_c: the model was trained on images of at most {classifier.max_side} pixels a side, expected "
            f"max_height and max_width of at most that, got {max_height} and {max_width}; shrink images before"
        )
