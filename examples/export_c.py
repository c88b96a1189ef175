"""Train a small network on digits, write it as one C file, compile that, and hold it against Python's output.

pip install -e '.[examples]' && python examples/export_c.py        needs gcc
"""

import subprocess

import numpy as np

import minicnn
from minicnn.data import Batches, load_digits

digits = load_digits()
network = minicnn.Sequential(
    conv1=minicnn.Conv2d(1, 8, kernel_size=3, padding=1, rng=0),
    bn1=minicnn.BatchNorm2d(8),
    relu1=minicnn.ReLU(),
    pool=minicnn.AdaptiveMaxPool2d((3, 3)),  # of 8 × 8 pixels: the windows overlap
    flatten=minicnn.Flatten(),
    fc=minicnn.Linear(72, 10, rng=0),
    log_softmax=minicnn.LogSoftmax(),
)
trainer = minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.Adam(network, lr=0.01))
trainer.fit(Batches(digits.train.images, digits.train.labels, 32, shuffle=True, rng=0), epochs=5)

network.export_c("digits.c", max_height=8, max_width=8)
subprocess.run(["gcc", "-std=c99", "-O3", "-DMINICNN_MAIN", "digits.c", "-o", "digits", "-lm"], check=True)

image = digits.test.images[0]
with open("digit.pgm", "wb") as file:
    file.write(b"P5 8 8 255\n" + np.rint(image * 255).astype(np.uint8).tobytes())
answer = subprocess.run(["./digits", "digit.pgm"], check=True, capture_output=True, text=True).stdout
print(f"$ ./digits digit.pgm\n{answer}")
theirs = [float(line.split()[0]) for line in answer.splitlines()[1:]]
ours = network.predict(np.rint(image * 255)[None].astype(np.float32) / 255)[0]
print(f"a {digits.test.labels[0]}; largest difference to Python: {np.abs(ours - theirs).max():.1e}")
