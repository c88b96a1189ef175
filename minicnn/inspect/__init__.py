"""The inspector: what happens inside a network while it learns, to look at."""

from minicnn.inspect.recorder import Recorder
from minicnn.inspect.recording import Recording, load_recording
from minicnn.inspect.replay import replay_data

__all__ = ["Recorder", "Recording", "load_recording", "replay_data"]
