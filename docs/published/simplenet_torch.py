import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn


class SimpleNet(nn.Module):
    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(64)
        self.adaptive_pool = nn.AdaptiveMaxPool2d((1, 1))
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = torch.relu(self.bn3(self.conv3(x)))
        x = self.adaptive_pool(x).flatten(1)
        return torch.log_softmax(self.fc(x), dim=1)


network = SimpleNet()
network.load_state_dict(load_file("simplenet.safetensors"))

rng = np.random.default_rng(0)
x = torch.tensor(rng.standard_normal((10, 3, 32, 32), np.float32))
y = torch.tensor(rng.integers(10, size=10))

loss = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
for epoch in range(10):
    optimizer.zero_grad()
    value = loss(network(x), y)
    value.backward()
    optimizer.step()
    print(f"Epoch {epoch} - loss: {value.item():.4f}")
