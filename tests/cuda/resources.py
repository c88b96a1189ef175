"""What a kernel needs of a GPU, found out without one: compiled as a launch compiles it, and disassembled.

Numba makes LTO-IR of the kernel's Python, nvJitLink machine code of that, whose log says how many registers it takes,
and nvdisasm writes the instructions out. That proves that the kernel can be launched, that it spills nothing, and which
arithmetic it does; how long it takes, a GPU has to say.

Needs numba-cuda and nvdisasm, `pip install "minicnn-numba[cuda-check]"`, and no driver.
"""

import functools
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

WARP = 32  # threads
REGISTERS = 65536  # of a multiprocessor, and the most that a block may have
REGISTERS_OF_A_THREAD = 255
THREADS_OF_A_BLOCK = 1024
SHARED_OF_A_BLOCK = (
    48 * 1024
)  # bytes; the rest of a multiprocessor's is for blocks that ask at the launch, as none does

# Granularities, by which a multiprocessor hands out what it has.
REGISTERS_AT_A_TIME = 256  # to a warp
SHARED_AT_A_TIME = 256  # bytes, to a block


class Multiprocessor(NamedTuple):
    """What blocks share that run at a time, by the CUDA C++ Programming Guide, "Technical Specifications per Compute
    Capability": the most warps and blocks, and bytes of shared memory, of which the system keeps some of each block."""

    warps: int
    blocks: int
    shared: int
    kept: int


MULTIPROCESSORS = {
    (7, 5): Multiprocessor(warps=32, blocks=16, shared=64 * 1024, kept=0),
    (8, 0): Multiprocessor(warps=64, blocks=32, shared=164 * 1024, kept=1024),
    (9, 0): Multiprocessor(warps=64, blocks=32, shared=228 * 1024, kept=1024),
    (10, 0): Multiprocessor(warps=64, blocks=32, shared=228 * 1024, kept=1024),
    (12, 0): Multiprocessor(warps=48, blocks=24, shared=100 * 1024, kept=1024),
}


class Resources(NamedTuple):
    """What a kernel needs, `cc` being the compute capability that it was compiled for.

    registers is of a thread, shared (bytes) of a block, stack and spilled (bytes, stored and loaded) of a thread. Then
    instructions: all, those in double precision, calls, barriers, those on local memory, multiply-adds in single
    precision (FFMA), and of the loop that does most of those its length and how many it has.
    """

    cc: tuple
    registers: int
    shared: int
    stack: int
    spilled: int
    instructions: int
    doubles: int
    calls: int
    barriers: int
    local: int
    multiply_adds: int
    loop: int
    loop_multiply_adds: int

    @property
    def share(self):
        """Of the loop's instructions, those that are multiply-adds. The others are what they cost beside themselves."""
        return self.loop_multiply_adds / self.loop if self.loop else 0.0

    def blocks(self, threads):
        """How many blocks of so many threads a multiprocessor runs at a time."""
        has = MULTIPROCESSORS[self.cc]
        warps = -(-threads // WARP)
        registers = _rounded_up(self.registers * WARP, REGISTERS_AT_A_TIME) * warps
        shared = _rounded_up(self.shared + has.kept, SHARED_AT_A_TIME)
        return min(
            has.blocks, has.warps // warps, REGISTERS // registers, has.shared // shared if shared else has.blocks
        )

    def occupancy(self, threads):
        """Warps that a multiprocessor runs at a time, as a share of the most that it can."""
        return self.blocks(threads) * -(-threads // WARP) / MULTIPROCESSORS[self.cc].warps


def resources(body, types, cc, max_registers=None):
    """What the kernel `body` needs for arguments of these Numba types, compiled for compute capability `cc`."""
    code, log = _compiled(body, types, cc, max_registers)
    registers = int(_in(log, r"Used (\d+) registers"))
    shared = int(_in(log, r"(\d+) bytes smem", missing=0))
    stack = int(_in(log, r"(\d+) bytes stack frame"))
    spilled = int(_in(log, r"(\d+) bytes spill stores")) + int(_in(log, r"(\d+) bytes spill loads"))
    return Resources(cc, registers, shared, stack, spilled, *_counts(_disassembled(code)))


def missing():
    """What is not installed of what this needs, in a sentence; None where nothing is."""
    try:
        from numba import config, cuda

        if config.ENABLE_CUDASIM:
            return "the simulator, which NUMBA_ENABLE_CUDASIM=1 asked for, does not compile kernels"
        if getattr(cuda, "implementation", None) != "NVIDIA":
            return 'numba-cuda is not installed; pip install "minicnn-numba[cuda-check]"'
        import cuda.core
    except ImportError as error:
        return f'{error}; pip install "minicnn-numba[cuda-check]"'
    if _nvdisasm() is None:
        return 'nvdisasm is not installed; pip install "minicnn-numba[cuda-check]"'
    return None


def _compiled(body, types, cc, max_registers):
    """(machine code, the linker's log). From 9.0 on a launch compiles for the one architecture alone, "sm_90a"."""
    from cuda.core import Linker, LinkerOptions, ObjectCode
    from numba import cuda
    from numba import types as numba_types

    suffix = ("a",) if cc >= (9, 0) else ()
    signature = numba_types.void(*types)
    code, _ = cuda.compile(body, signature, cc=(*cc, *suffix), device=False, abi="numba", output="ltoir")
    options = LinkerOptions(
        arch="sm_" + "".join(map(str, (*cc, *suffix))),
        link_time_optimization=True,
        max_register_count=max_registers,
        verbose=True,
        ptxas_options=["-v"],
    )
    linker = Linker(ObjectCode.from_ltoir(code), options=options)
    machine_code = linker.link("cubin").code
    return machine_code, linker.get_info_log()


@functools.cache
def _nvdisasm():
    """Where nvdisasm is: in the wheel nvidia-cuda-nvdisasm, or a toolkit's. None where it is nowhere."""
    from cuda.pathfinder import find_nvidia_binary_utility

    return find_nvidia_binary_utility("nvdisasm")


def _disassembled(code):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(code)
        run = subprocess.run([_nvdisasm(), "-c", str(path)], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"nvdisasm: {run.stderr.strip()}")
    return run.stdout


# "        /*0a40*/              @!P0 BRA `(.L_x_3) ;": address, predicate, operation, operands
INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][A-Z0-9_]*(?:\.\w+)*)(.*)")
LABEL = re.compile(r"\.(L_x_\d+):")
TARGET = re.compile(r"\(\.(L_x_\d+)\)")
DOUBLES = {"DADD", "DMUL", "DFMA", "DSETP", "DMNMX", "DMMA"}


def _counts(text):
    """The numbers of `Resources` from instructions on."""
    names, labels, branches, calls = [], {}, [], 0
    for line in text.splitlines():
        if label := LABEL.match(line):
            labels[label[1]] = len(names)
        if found := INSTRUCTION.match(line):
            calls += found[1].startswith("CALL") and "$" in found[2]  # else a way to a place in the kernel itself
            if found[1].startswith("BRA") and (target := TARGET.search(found[2])):
                branches.append((target[1], len(names)))
            names.append(found[1])
    kinds = Counter(name.partition(".")[0] for name in names)
    loop, in_loop = _busiest_loop(names, [(labels[target], at) for target, at in branches if labels[target] <= at])
    return (
        len(names),
        sum(map(_is_double, names)),
        calls,
        kinds["BAR"],
        kinds["LDL"] + kinds["STL"],
        kinds["FFMA"],
        loop,
        in_loop,
    )


def _is_double(name):
    """Whether an instruction computes in double precision or converts from or to it ("F2F.F64.F32", "MUFU.RCP64H")."""
    kind, *details = name.split(".")
    return kind in DOUBLES or any(detail == "F64" or detail.endswith("64H") for detail in details)


def _busiest_loop(names, loops):
    """(length, multiply-adds) of the innermost loop that has many multiply-adds and little else: number × share."""
    innermost = [
        one for one in loops if not any(one != other and one[0] <= other[0] and other[1] <= one[1] for other in loops)
    ]
    found = [
        (last + 1 - first, sum(name.startswith("FFMA") for name in names[first : last + 1]))
        for first, last in innermost
    ]
    return max(found, key=lambda pair: pair[1] ** 2 / pair[0], default=(0, 0))


def _in(log, pattern, missing=None):
    """The number that the linker's log gives in such words."""
    found = re.search(pattern, log)
    if found is None and missing is None:
        raise RuntimeError(f"the linker's log does not say {pattern!r}; is this another version of nvJitLink?")
    return found[1] if found else missing


def _rounded_up(number, step):
    return -(-number // step) * step
