"""What a run says of itself once: what it computes together, and that its schedule has ended."""

from collections.abc import Iterator

from minicnn.fusion import ConvBlocks
from minicnn.network import Sequential
from minicnn.schedules import Schedule
from minicnn.training.progress import Reporter


class Once:
    """Says each text once, however often it is given."""

    def __init__(self) -> None:
        self._said = {""}

    def say(self, report: Reporter, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            report.message(text)


def what_is_fused(computed: Sequential) -> str:
    """Which layers a run computes together; empty where it is none."""
    names = ", ".join(_blocks(computed))
    return f"fused: {names} (minicnn.fuse); with Trainer(fuse=False) every layer is on its own" if names else ""


def _blocks(network: Sequential, prefix: str = "") -> Iterator[str]:
    """Which layers each block has, "conv1 to relu1"; also those in networks within the network."""
    for name, child in network.children.items():
        if isinstance(child, ConvBlocks):
            yield prefix + name.replace("_to_", " to ")
        elif isinstance(child, Sequential):
            yield from _blocks(child, f"{prefix}{name}.")


def move_on(schedule: Schedule, value: float | None = None) -> str:
    """Move the schedule on; one that asks for it by the `value` that is monitored.

    One that is at its end stays there: better than to lose the run in its last epoch.
    Returns what is then to be said; else nothing.
    """
    if getattr(schedule, "asks_for_value", False):
        schedule.step(value)  # type: ignore[call-arg]  # as such a schedule is called
        return ""
    total_steps = getattr(schedule, "total_steps", None)
    if total_steps is None or schedule.t < total_steps:
        schedule.step()
        return ""
    return (
        f"{type(schedule).__name__} has made its {total_steps} steps, and there are more batches; "
        f"the learning rate stays at {schedule.optimizer.lr:.3g}"
    )
