"""What a run says of itself once: what it computes together, and that its schedule has ended."""

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
    blocks = [name for name, child in computed.children.items() if isinstance(child, ConvBlocks)]
    names = ", ".join(name.replace("_to_", " to ") for name in blocks)
    return f"fused: {names} (minicnn.fuse); with Trainer(fuse=False) every layer is on its own" if blocks else ""


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
