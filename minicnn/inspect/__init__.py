"""The inspector: what happens inside a network while it learns, to look at."""

from minicnn.inspect.recorder import Recorder, Recording, load_recording, replay_data

__all__ = ["Recorder", "Recording", "load_recording", "replay_data"]
