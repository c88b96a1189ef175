import numpy as np
import torch

x = np.random.default_rng(0).standard_normal((1, 3, 10, 10), np.float32)
pool = torch.nn.AdaptiveMaxPool2d((3, 3))

x = torch.tensor(x, requires_grad=True)
y = pool(x)
print(tuple(y.shape))
print(y.detach().numpy()[0, 0].round(4))

y.backward(torch.ones_like(y))
print("cells with a gradient:", np.count_nonzero(x.grad))
