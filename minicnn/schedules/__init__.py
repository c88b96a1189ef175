"""Learning-rate schedules: the learning rate as a function of how often `step` was called.

schedule.py     what all have in common
curves.py       StepLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, LinearLR, OneCycleLR: functions of t
sequential.py   SequentialLR: one after another, a warm-up and then a cosine, say
plateau.py      ReduceLROnPlateau: by what was measured

Each has PyTorch's name, arguments and numbers. Making one sets the optimiser's learning rate to its value at 0;
`schedule.step()` moves on, once an epoch or once a batch, as the user (or the Trainer) decides.
"""

from minicnn.schedules.curves import CosineAnnealingLR, CosineAnnealingWarmRestarts, LinearLR, OneCycleLR, StepLR
from minicnn.schedules.plateau import ReduceLROnPlateau
from minicnn.schedules.schedule import Schedule
from minicnn.schedules.sequential import SequentialLR

__all__ = [
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "LinearLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
]
