"""The sizes of a vector and of the register tile, for the processor at hand."""

import llvmlite.binding as llvm

AVX512 = bool(llvm.get_host_cpu_features().get("avx512f"))
LANES = 16 if AVX512 else 8  # numbers in one vector
ROWS = 8 if AVX512 else 6  # rows of the register tile: ROWS * 2 accumulators, 16 of 32 or 12 of 16 registers
TERMS = 256  # of a sum that are added up in one go
