"""Optimisers: from gradients to new parameters. The formulas stand in `backends/*/optim.py`."""

from minicnn.optim.accumulate import Accumulate
from minicnn.optim.adam import Adam, AdamW
from minicnn.optim.optimizer import Optimizer
from minicnn.optim.sgd import SGD

__all__ = ["SGD", "Accumulate", "Adam", "AdamW", "Optimizer"]
