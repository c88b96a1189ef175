"""The recording of a whole training run, which the page can replay.

recorder.py        what `Trainer(record=…)` writes down of the steps, and of which
training_step.py   what one step did to the weights
activations.py     the activations of an image, with the weights of a step
kept_cells.py      which cells of the arrays are kept, and what they take in the file
thinning.py        which steps are kept
file.py            the file, and how it is read
"""

from minicnn.inspect.recording.file import Recording, load_recording
from minicnn.inspect.recording.recorder import Recorder

__all__ = ["Recorder", "Recording", "load_recording"]
