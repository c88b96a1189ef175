"""Whether batchnorm takes the statistics of the batch or those that it kept, and what that means for the answer."""

from minicnn.backends.protocol import Operations
from minicnn.layers import BatchNorm2d


def is_trained(layer: BatchNorm2d, ops: Operations) -> bool:
    """Whether a batchnorm has statistics of images, or still those it was made with."""
    new = {"running_mean": 0, "running_var": 1}
    return any((ops.to_numpy(layer.state[key]) != value).any() for key, value in new.items() if key in layer.state)


def mode_note(training: bool, trained: bool, n_images: int) -> str:
    """What the mode means for a network with batchnorm, in a sentence."""
    if not training:
        return (
            "As in predict, batchnorm takes the statistics that it kept from training; to the gradients they are "
            "constants."
        )
    of = "this image alone" if n_images == 1 else f"these {n_images} images"
    other = "those that were kept from training" if trained else "those of a new layer, mean 0 and variance 1"
    return (
        f"As in a step of training, batchnorm takes the statistics of {of}; predict takes {other}, and so may answer "
        "otherwise."
    )
