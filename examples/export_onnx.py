"""Train a small network on digits, write it as ONNX, and run the file in onnxruntime at three sizes.

It needs the packages of the extras: pip install -e '.[examples,onnx-check]'
"""

import numpy as np
import onnxruntime

import minicnn
from minicnn.data import Batches, load_digits

digits = load_digits()
network = minicnn.Sequential(
    conv1=minicnn.Conv2d(1, 16, kernel_size=3, padding=1, rng=0),
    bn1=minicnn.BatchNorm2d(16),
    relu1=minicnn.ReLU(),
    pool=minicnn.AdaptiveAvgPool2d((3, 5)),  # of images whose sides 3 and 5 need not divide
    flatten=minicnn.Flatten(),
    fc=minicnn.Linear(16 * 3 * 5, 10, rng=0),
    log_softmax=minicnn.LogSoftmax(),
)
trainer = minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.Adam(network, lr=0.01))
trainer.fit(Batches(digits.train.images, digits.train.labels, 32, shuffle=True, rng=0), epochs=5)
network.export_onnx("digits.onnx")

session = onnxruntime.InferenceSession("digits.onnx", providers=["CPUExecutionProvider"])
for n, tall, wide in [(360, 1, 1), (100, 2, 3), (1, 4, 2)]:  # how many images, and how often each pixel is repeated
    images = digits.test.images[:n].repeat(tall, axis=2).repeat(wide, axis=3)
    ours, theirs = network.predict(images), session.run(None, {"input": images})[0]
    same = np.mean(ours.argmax(axis=1) == theirs.argmax(axis=1))
    print(f"{images.shape}: largest difference {np.abs(ours - theirs).max():.1e}, {same:.0%} the same digit")
