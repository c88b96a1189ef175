"""Products of matrices.

    c = a b         c[m, d] = sum over k of a[m, k] * b[k, d]          a (M, K), b (K, D); each may be given turned

`plain_kernel` is the definition. `tile_kernel` makes the same sums by `gather_gemm`, a tile of ROWS × WIDE numbers of c
at a time. It reads b through a packed copy of TERMS rows and a few panels of WIDE columns, in which what a tile needs
lies in the order in which it is needed; every tile above or below reads it again. Of a, TERMS numbers of a row are
contiguous as they are; where a is given turned they are copied, too. On a 2-core Xeon (AVX-512) the forward pass of 128
images through 512 × 512 weights takes 0.25 ms where sums row by row took 1.1, and of 64 through 4096 × 4096 10 ms where
they took 70.

Who owns what: a worker owns a rectangle of c. A sum is made by one worker, TERMS terms at a time, in order, so that its
bits do not depend on how c is shared out. Cost: M K D multiply-adds.
"""

from typing import NamedTuple

from numba import get_num_threads

from minicnn.backends.cpu.convolution.gather_gemm import Factors, Gathered, Out, gather_gemm
from minicnn.backends.cpu.convolution.registers import LANES, ROWS, TERMS
from minicnn.backends.cpu.convolution.vectors import fill, load, store, transpose
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined
from minicnn.backends.cpu.runtime.launch import launch, unpack
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.plain import Array

WIDE = 2 * LANES  # columns of a tile
BLOCK_COLUMNS = 8 * WIDE  # of b that are packed together: 256 KiB, a part of the L2 cache
BLOCK_ROWS = 64 * ROWS  # of a that meet them
SMALL = 256 * 1024  # multiply-adds that are made sooner than other threads are woken


class Job(NamedTuple):
    M: int
    K: int
    D: int
    a_turned: int  # whether a is stored as (K, M)
    b_turned: int  # whether b is stored as (D, K)
    down: int  # rectangles of c, from top to bottom and from left to right
    across: int


JOB_NUMBERS = len(Job._fields)


def product(a: Array, b: Array, *, a_turned: bool = False, b_turned: bool = False) -> Array:
    """a b; a is given as its transpose where `a_turned` says so, and so is b."""
    M, K = a.shape[::-1] if a_turned else a.shape
    D = len(b) if b_turned else b.shape[1]
    c = empty((M, D), a.dtype)
    workers = get_num_threads() if M * K * D > SMALL else 1
    across = min(workers, -(-D // WIDE))
    down = min(workers // across, -(-M // ROWS))
    terms, high, wide = min(K, TERMS), min(M, BLOCK_ROWS), min(-(-D // WIDE) * WIDE, BLOCK_COLUMNS)
    launch(
        tile_kernel,
        (a, b, c),
        Job(M, K, D, a_turned, b_turned, down, across),
        table_size=high + ROWS + terms,
        scratch_size=ROWS * WIDE + terms * (wide + (high + LANES) * a_turned),
        workers=down * across,
        dtype=a.dtype,
    )
    return c


def plain_product(a: Array, b: Array, *, a_turned: bool = False, b_turned: bool = False) -> Array:
    """The same by the definition."""
    M, K = a.shape[::-1] if a_turned else a.shape
    D = len(b) if b_turned else b.shape[1]
    c = empty((M, D), a.dtype)
    launch(plain_kernel, (a, b, c), Job(M, K, D, a_turned, b_turned, M, 1), workers=M, dtype=a.dtype)
    return c


@by_pointer
def plain_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, m: int) -> None:
    """Row m of c. arrays: a, b, c.

    TERMS at a time are added up by themselves: one float32 sum of 20 000 loses a digit.
    """
    job = Job(*unpack(numbers, JOB_NUMBERS))
    a, b, c = arrays[:3]
    for d in range(job.D):
        total = c.dtype.type(0)
        for first in range(0, job.K, TERMS):
            part = c.dtype.type(0)
            for k in range(first, min(job.K, first + TERMS)):
                of_a = a[k * job.M + m] if job.a_turned else a[m * job.K + k]
                of_b = b[d * job.K + k] if job.b_turned else b[k * job.D + d]
                part += of_a * of_b
            total += part
        c[m * job.D + d] = total


@by_pointer
def tile_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int) -> None:
    """A rectangle of c, by blocks of at most BLOCK_ROWS × BLOCK_COLUMNS. arrays: a, b, c."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    a, b, c = arrays[:3]
    edge, packed = scratch[: ROWS * WIDE], scratch[ROWS * WIDE :]  # a tile that does not fit into c; a block of b
    most_terms = min(job.K, TERMS)
    a_copy = packed[most_terms * min((job.D + WIDE - 1) // WIDE * WIDE, BLOCK_COLUMNS) :]
    taps, rows = table[:most_terms], table[most_terms:]
    i, j = worker // job.across, worker % job.across
    top, bottom = _start(i, job.down, job.M, ROWS), _start(i + 1, job.down, job.M, ROWS)
    left, right = _start(j, job.across, job.D, WIDE), _start(j + 1, job.across, job.D, WIDE)
    for d0 in range(left, right, BLOCK_COLUMNS):
        wide = min(BLOCK_COLUMNS, right - d0)
        for m0 in range(top, bottom, BLOCK_ROWS):
            high = min(BLOCK_ROWS, bottom - m0)
            pitch = high + LANES  # of the copy of a: not a power of two, whose rows would fall into one cache set
            for m in range(high + ROWS):
                rows[m] = min(m, high - 1) * (1 if job.a_turned else job.K)  # past the last row, it is there again
            for k in range(most_terms):
                taps[k] = k * (pitch if job.a_turned else 1)
            for k0 in range(0, job.K, TERMS):
                terms = min(TERMS, job.K - k0)
                if job.b_turned:
                    _pack_turned(b, d0 * job.K + k0, job.K, terms, wide, packed)
                else:
                    _pack(b, k0 * job.D + d0, job.D, terms, wide, packed)
                if job.a_turned:
                    _copy_rows(a, k0 * job.M + m0, job.M, terms, high, a_copy, pitch)
                for d in range(0, wide, WIDE):
                    for m in range(0, high, ROWS):
                        fits = m + ROWS <= high and d + WIDE <= wide
                        c_at = (m0 + m) * job.D + d0 + d
                        out = Out(c, c_at, job.D, LANES) if fits else Out(edge, 0, WIDE, LANES)
                        if job.a_turned:
                            x = Gathered(a_copy, 0, rows, m, taps, 0, terms)
                        else:
                            x = Gathered(a, m0 * job.K + k0, rows, m, taps, 0, terms)
                        gather_gemm(2, out, x, Factors(packed, d * terms, WIDE), fits and k0 > 0)
                        if not fits:
                            _add_edge(edge, min(ROWS, high - m), min(WIDE, wide - d), c, c_at, job.D, k0 > 0)


@inlined
def _start(share: int, shares: int, size: int, unit: int) -> int:
    """Where one of `shares` about equal parts of `size` begins, a multiple of `unit`."""
    return min(size, share * ((size + unit - 1) // unit) // shares * unit)


@inlined
def _copy_rows(a: Array, at: int, pitch: int, terms: int, high: int, target: Array, target_pitch: int) -> None:
    """target[k, m] = a[k, m], rows of `high` numbers, from `at` on."""
    whole = high // LANES * LANES
    for k in range(terms):
        for m in range(0, whole, LANES):
            store(target, k * target_pitch + m, load(a, at + k * pitch + m))
        for m in range(whole, high):
            target[k * target_pitch + m] = a[at + k * pitch + m]


@inlined
def _pack(b: Array, at: int, pitch: int, terms: int, wide: int, packed: Array) -> None:
    """packed (panels, terms, WIDE) from rows of b, with zeros where the last panel is not full. They are computed with
    and not written anywhere; leftovers in their place may be denormal numbers, which take 100 times as long."""
    whole, zero = wide // WIDE * WIDE, fill(packed, 0.0)
    for k in range(terms):
        for d in range(0, whole, WIDE):
            packed_at = d * terms + k * WIDE
            store(packed, packed_at, load(b, at + k * pitch + d))
            store(packed, packed_at + LANES, load(b, at + k * pitch + d + LANES))
        if whole < wide:
            store(packed, whole * terms + k * WIDE, zero)
            store(packed, whole * terms + k * WIDE + LANES, zero)
        for d in range(whole, wide):
            packed[whole * terms + k * WIDE + d - whole] = b[at + k * pitch + d]


@inlined
def _pack_turned(b: Array, at: int, pitch: int, terms: int, wide: int, packed: Array) -> None:
    """The same from b (D, K), a block of LANES × LANES numbers at a time where one fits."""
    zero = fill(packed, 0.0)
    for d in range(0, (wide + WIDE - 1) // WIDE * WIDE, LANES):
        packed_at = d // WIDE * WIDE * terms + d % WIDE
        whole = terms // LANES * LANES if d + LANES <= wide else 0
        for k in range(0, whole, LANES):
            transpose(b, at + d * pitch + k, pitch, packed, packed_at + k * WIDE, WIDE)
        for k in range(whole, terms):
            store(packed, packed_at + k * WIDE, zero)
        for lane in range(min(LANES, wide - d)):
            for k in range(whole, terms):
                packed[packed_at + k * WIDE + lane] = b[at + (d + lane) * pitch + k]


@inlined
def _add_edge(edge: Array, high: int, wide: int, c: Array, at: int, pitch: int, add: bool) -> None:
    """The part of a tile that is within c to its place, added to what is there if `add` says so."""
    for m in range(high):
        for d in range(wide):
            before = c[at + m * pitch + d] if add else c.dtype.type(0)
            c[at + m * pitch + d] = before + edge[m * WIDE + d]
