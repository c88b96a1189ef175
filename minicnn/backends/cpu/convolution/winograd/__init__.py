"""Rung 4, Winograd convolution F(4×4, 3×3): 36 multiplications where the plain sum needs 144 (Lavin and Gray, 2016).

For stride 1. With a 3 × 3 kernel, a 4 × 4 tile of the output needs a 6 × 6 tile d of the input and the kernel g:

    forward            y  = Aᵀ [ (G g Gᵀ) * (Bᵀ d B) ] A                     * is elementwise, summed over channels
    weight gradient    dg = Gᵀ [ sum over tiles of (A dy Aᵀ) * (Bᵀ d B) ] G  its adjoint in g
    input gradient     a forward convolution of dy with g turned by half a turn, filters and channels exchanged

Write U = G g Gᵀ (36, C, F), V = Bᵀ d B (T, 36, C) and Q = A dy Aᵀ (T, 36, F) for T tiles. The elementwise products,
summed over channels or over tiles, are 36 small matrix products, which `gather_gemm` computes near the machine's peak:

    forward            M[:, k]  = V[:, k] U[k]        (T, F)
    weight gradient    dU[k]    = V[:, k]ᵀ Q[:, k]    (C, F)

A larger kernel is a sum of 3 × 3 ones: zeros make its sides multiples of 3, and part (a, b) of it meets the input 3a
rows further down and 3b columns to the right. So a 5 × 5 kernel on C channels is a 3 × 3 kernel on 4 C, which are the C
channels in four positions; the code calls them the inputs.

Vectors run over channels. A block of at most MAX_TILES tiles is carried from input to output within the L2 cache:
source → patch → V → M → patch → sink.

Who owns what: a worker of the forward kernel owns the output of its blocks. A worker of the weight gradient owns one of
several partial sums; their number depends on the shapes only, and they are added in order.

Cost per output pixel and part: 2.25 C F multiply-adds, and for the transforms about 9 C + 6.25 F additions and
multiplications.

Error: the transforms take differences of larger numbers, which costs digits: in float32 the largest error is 5e-7 to
5e-6 of the largest output (16 to 1024 channels; the register tile's is 1e-7 to 1e-6), of a weight's gradient 1e-6 (16
to 128 images; PyTorch's 3e-6 to 7e-6), in float64 1e-14. Where the
numbers of a tile are so far apart that small outputs would be lost beside large ones, or not finite, the tile is summed
plainly, see `balance.py`: so an output is off by at most 2e-4 of the sum of its products' magnitudes, a weight's
gradient by 1e-3, and NaN and infinity are where the plain sum has them. Weights that are not `fit` go to the register
tile.

    transforms.py         the five transforms, to read first
    plan.py               how the output is cut into blocks of tiles
    tiles.py  weights.py  V, Q and U: tiles and weights transformed
    forward.py            M = V U and its way back to the output; the input gradient is the same
    weight_gradient.py    dU = Vᵀ Q and its way back to the kernel
    both_gradients.py     both gradients in one pass over dy
    balance.py            which tiles and weights are not transformed, and the plain sums of such tiles
    fallback.py           how the kernels call for these sums
"""

from minicnn.backends.cpu.convolution.winograd.balance import fit
from minicnn.backends.cpu.convolution.winograd.both_gradients import run_both_gradients, supports_both
from minicnn.backends.cpu.convolution.winograd.forward import forward_launch, run
from minicnn.backends.cpu.convolution.winograd.plan import kernel_parts, plan_forward, plan_input_gradient
from minicnn.backends.cpu.convolution.winograd.transforms import (
    input_1d,
    output_1d,
    output_adjoint_1d,
    weight_1d,
    weight_adjoint_1d,
)
from minicnn.backends.cpu.convolution.winograd.weight_gradient import run_weight_gradient
from minicnn.backends.cpu.convolution.winograd.weights import Packed, packed_weight
from minicnn.plain import Array, Pair

__all__ = [
    "Packed",
    "forward_launch",
    "input_1d",
    "output_1d",
    "output_adjoint_1d",
    "packed_weight",
    "plan_forward",
    "plan_input_gradient",
    "run",
    "run_both_gradients",
    "run_weight_gradient",
    "supports",
    "supports_both",
    "weight_1d",
    "weight_adjoint_1d",
]


def supports(inputs: int, kernel_size: Pair, stride: Pair, padding: Pair, weight: Array | None = None) -> bool:
    """Whether these kernels can do it, and fast: with few input channels the transforms cost more than they save, and
    so do kernels of which a 3 × 3 part is mostly zeros. Where `weight` is given, it must be fit to be transformed."""
    parts = kernel_parts(kernel_size)
    return (
        stride == (1, 1)
        and inputs >= 8
        and 3 * parts[0] * parts[1] <= kernel_size[0] * kernel_size[1]
        and all(pad < kernel for pad, kernel in zip(padding, kernel_size, strict=True))
        and (weight is None or fit(weight))
    )
