import numpy as np

import minicnn

x = np.random.default_rng(0).standard_normal((1, 3, 10, 10), np.float32)
pool = minicnn.AdaptiveMaxPool2d((3, 3))

y = pool.forward(x)
print(y.shape)
print(y[0, 0].round(4))

dx = pool.backward(np.ones_like(y))
print("cells with a gradient:", np.count_nonzero(dx))
