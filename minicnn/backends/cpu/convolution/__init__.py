"""The convolution of the CPU backend, as a ladder: each rung does the same sum, faster.

    plain.py      1  the definition: seven loops                                              3 GFLOP/s
    shifts.py     2  an order that vectorises: a kernel tap is a shift of contiguous memory   25
    tile/         3  a tile of the output in vector registers over the whole sum              157
    matrix.py        the same turned round, for 1 × 1 kernels, whose pixels need no gathering
    winograd/     4  stride 1, kernels of 3 × 3 and larger: fewer multiplications             502

(Forward, 3 × 3, 32 to 64 channels, 32 images of 32 × 32, counted as plain sums, on two threads whose multiply-add peak
was measured at 234 GFLOP/s in the same run. The two gradients together: 3, 50, 154 and 360.)

    gather_gemm.py   the register tile that rungs 3 and 4 are made of
    vectors.py       vectors in Numba; registers.py has their size, emit.py the instructions behind them
    pieces.py        how a batch, of one image size or of many, is cut into work
    patches.py       how rungs 3 and 4 read and write images

How their kernels are compiled once and run in parallel is in `minicnn.backends.cpu.runtime.launch`.

`minicnn.backends.cpu.conv` chooses: rung 4 where it serves, `matrix` for 1 × 1, else rung 3. Rungs 1 and 2 are there to
be read, and `tests/test_ladder.py` holds all against each other. `benchmarks/speed.py --only ladder` measures them.
"""
