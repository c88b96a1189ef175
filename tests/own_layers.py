"""Layers of a user's own, in a module that can be imported: for the tests of saved networks."""

import minicnn


class Scaled(minicnn.Layer):
    """y = factor * x"""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def predict(self, x):
        return x * x.dtype.type(self.factor)

    def forward(self, x):
        y = self.predict(x)
        self.remember(y)
        return y

    def backward(self, dy, need_dx=True):
        self.recall(dy)
        return dy * dy.dtype.type(self.factor)


class Nameless(Scaled):
    """Does not keep its argument."""

    def __init__(self, strength):
        super().__init__(strength)


class TwiceNet(minicnn.Sequential):
    """A class of one's own that computes as Sequential does."""

    def __init__(self):
        super().__init__(flat=minicnn.Flatten(), fc=minicnn.Linear(4, 3, rng=0))


class Backwards(minicnn.Sequential):
    """One that does not."""

    def forward(self, x):
        return super().forward(-x)


def table():
    """No layer."""
