"""Callbacks: plain functions that a `Trainer` calls after each step and after each epoch.

    def show(trainer, event, values):
        if event == "epoch":
            print(values["epoch"], values["loss"])

    Trainer(…, callbacks=[show])

event   values
"step"  step (of the whole run, from 1), epoch (under way, from 1), lr, loss
"epoch" step, and the epoch's row of the history

Network, optimiser and schedule are as the next step will find them. What a callback raises ends the run.

A callback that has a state, as EMA has, is part of a checkpoint. It has the methods of an optimiser for that:
`state_dict()`, `checked_state(arrays, numbers)` and `load_state_dict(arrays, numbers)`.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

Callback: TypeAlias = Callable[[Any, str, dict[str, Any]], object]  # the first is the Trainer


def call_back(trainer: Any, event: str, values: dict[str, Any]) -> None:
    """Call all callbacks of the trainer, in their order."""
    for callback in trainer.callbacks:
        callback(trainer, event, {"step": trainer.optimizer.steps} | values)


def with_state(callbacks: Iterable[Callback]) -> list[Any]:
    """Those of the callbacks that have a state of their own."""
    return [callback for callback in callbacks if hasattr(callback, "checked_state")]


def as_callbacks(callbacks: Iterable[Callback]) -> list[Callback]:
    """What was given as callbacks, a list. Raises TypeError for what cannot be called."""
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise TypeError(f"Trainer: expected a list of functions as callbacks, got {callbacks!r}; put it into [...]")
    found = list(callbacks)
    for callback in found:
        if not callable(callback):
            raise TypeError(f"Trainer: expected functions (trainer, event, values) as callbacks, got {callback!r}")
    return found
