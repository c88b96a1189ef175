"""The sizes of a vector and of the register tile, for the processor that Numba compiles for.

The accumulators of a tile, ROWS * 2 vectors, must stay in registers, and leave some for two vectors of the right
matrix and one number of the left; its ROWS addresses must stay in the integer registers.

    vector registers                      LANES   ROWS   accumulators
    zmm: 32 of 512 bits, AVX-512            16      8     16: for more, x86-64 has too few integer registers
    ymm: 16 of 256 bits, AVX and AVX2        8      6     12
    xmm: 16 of 128 bits, SSE                 4      6     12
    others: 32 of 128 bits, AArch64          8      6     24: a vector takes two registers, so that ten loads, as many
                                                          as LANES = 4 would need for 12, feed 24 multiply-adds
"""

import re

from minicnn.backends.cpu.runtime.numba_internals import assembly

_TILES = {"zmm": (16, 8), "ymm": (8, 6), "xmm": (4, 6)}


def tile() -> tuple[int, int]:
    """LANES and ROWS, by what LLVM calls the registers into which it puts 16 numbers."""
    vector = "<16 x float>"
    code = assembly(f"define {vector} @twice({vector} %x) {{ %y = fadd {vector} %x, %x\n ret {vector} %y }}")
    name = re.search("%([xyz]mm)", code)
    return _TILES[name[1]] if name else (8, 6)


LANES, ROWS = tile()
TERMS = 256  # of a sum that are added up in one go
