"""A cable between two network namespaces, whose packets take a while: slow_cable.py SECONDS NAMESPACE NAMESPACE

Each end is a TUN device; whatever the kernel sends there is read, kept for SECONDS, and handed to the other end.
"""

import collections
import fcntl
import os
import select
import struct
import subprocess
import sys
import time


def end(number, namespace):
    """The file of the device that host `number` sees as its only network, 10.83.7.0/24."""
    file, name = os.open("/dev/net/tun", os.O_RDWR), f"mc{os.getpid()}{number}"
    fcntl.ioctl(file, 0x400454CA, struct.pack("16sH", name.encode(), 0x1001))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
    subprocess.run(["ip", "link", "set", name, "netns", namespace], check=True)
    settings = f"link set {name} mtu 60000 txqueuelen 10000 up\naddr add 10.83.7.{number}/24 dev {name}\n"
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input=settings, text=True, check=True)
    return file


def carry(one, two, seconds):
    under_way = collections.deque()
    while True:
        left = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for source in select.select([one, two], [], [], left)[0]:
            under_way.append((time.monotonic() + seconds, two if source == one else one, os.read(source, 65536)))
        while under_way and under_way[0][0] <= time.monotonic():
            _, target, packet = under_way.popleft()
            os.write(target, packet)


if __name__ == "__main__":
    ends = [end(number, namespace) for number, namespace in enumerate(sys.argv[2:], 1)]
    print("ready", flush=True)
    carry(*ends, float(sys.argv[1]))
