"""A PyTorch module becomes a network of minicnn, learns the digits there, and its weights go back to PyTorch."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import minicnn
from minicnn.data import Batches, load_digits
from minicnn.interop.torch import from_torch, to_torch


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.adaptive_avg_pool2d(F.relu(self.conv2(x)), 2)
        return F.log_softmax(self.fc(x.flatten(1)), dim=1)


torch.manual_seed(0)
module, digits = Net(), load_digits()
network = from_torch(module)  # the same weights and names; both were run, and agree
print(network)

trainer = minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.Adam(network, lr=0.004), quiet=True)
trainer.fit(Batches(digits.train.images, digits.train.labels, 32, shuffle=True, rng=0), epochs=6)

module.load_state_dict(to_torch(network).state_dict())
with torch.no_grad():
    theirs = module(torch.from_numpy(digits.test.images)).numpy()
ours = network.predict(digits.test.images)
print(f"test accuracy {minicnn.accuracy(ours, digits.test.labels):.2f}")
print(f"outputs of minicnn and PyTorch agree: {np.allclose(ours, theirs, rtol=1e-5, atol=1e-5)}")
