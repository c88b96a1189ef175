import numpy as np

import minicnn

network = minicnn.SimpleNet(num_classes=10, in_channels=3, rng=0)
minicnn.save_weights(network, "simplenet.safetensors")

rng = np.random.default_rng(0)
x = rng.standard_normal((10, 3, 32, 32), np.float32)
y = rng.integers(10, size=10)

loss = minicnn.CrossEntropyLoss()
optimizer = minicnn.Adam(network, lr=0.001)
for epoch in range(10):
    value = loss.forward(network.forward(x), y)
    network.backward(loss.backward())
    optimizer.step()
    print(f"Epoch {epoch} - loss: {value:.4f}")
