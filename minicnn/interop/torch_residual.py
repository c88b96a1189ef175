"""A `minicnn.Residual` as a module of PyTorch. Imported only where PyTorch is."""

import torch
from torch import nn

from minicnn.residual import SHORTCUT


class Residual(nn.Sequential):
    """y = f(x) + s(x): f the children one after another, s the child `shortcut`, or x itself where there is none.

    Its children have the names that they have in minicnn, and so the state dict of either side fits the other.
    `to_torch` makes it; `from_torch` knows it, in modules that were written with it too.

    >>> block = Residual(nn.ReLU(), nn.Identity())
    >>> block(torch.tensor([[-1.0, 2.0]]))
    tensor([[-1.,  4.]])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for name, layer in self.named_children():
            if name != SHORTCUT:
                y = layer(y)
        return y + (getattr(self, SHORTCUT)(x) if hasattr(self, SHORTCUT) else x)
