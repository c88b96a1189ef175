"""The handwritten digits that come with scikit-learn: real, small, and on disk once it is installed."""

import numpy as np

from minicnn.data.dataset import Dataset, LabelledImages

N_TEST = 360
SPLIT_SEED = 0  # one split for everybody, so that test accuracies can be compared


def load_digits() -> Dataset:
    """1 437 training and 360 test images (N, 1, 8, 8) of the digits 0 to 9, values from 0 to 1.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part, as
    scikit-learn ships it). The split is ours and always the same.

    Raises ImportError, saying how to get it, where scikit-learn is not installed.
    """
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError(
            "load_digits: the digits come with scikit-learn, which is not installed; "
            "get it with: pip install scikit-learn"
        ) from error
    bunch = sklearn.datasets.load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]  # sixteen grey levels above 0
    train, test = LabelledImages(images, bunch.target.astype(np.int64)).split(N_TEST, SPLIT_SEED)
    return Dataset("digits", train, test, tuple("0123456789"), "scikit-learn's digits, 8 × 8")
