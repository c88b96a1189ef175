"""Vectors in Numba: a type `Lanes`, and the one register-tiled kernel that every fast convolution uses.

Numba compiles through LLVM, and LLVM knows vectors (`<16 x float>`).  This module lets a kernel say so:
`load`, `store`, `fill`, `fma`, `+ - *` on vectors of LANES numbers.  LLVM splits a vector that is wider than
the machine's registers, so the same code runs everywhere; LANES only says which width is best here.

The microkernel, `gather_gemm`, is a matrix product whose left matrix is *addressed*, not stored:

    out[a, l]  (+)=  sum_b  x[rows[a] + taps[b]] * w[b, l]          a < ROWS,  l < vectors * LANES

Everything is this sum.  Only the meaning of rows, taps and w changes:

    direct forward      rows: output pixels       taps: (c, i, j)     w: weight      lanes: filters
    direct d_weight     rows: (c, i, j)           taps: pixels        w: dy          lanes: filters
    1 x 1 forward       rows: filters             taps: channels      w: x           lanes: pixels
    Winograd product    rows: tiles               taps: channels      w: U           lanes: filters
    Winograd d_weight   rows: channels            taps: tiles         w: dy's tiles  lanes: filters

The ROWS x vectors accumulators live in registers over the whole sum: per tap, `vectors` loads of w and ROWS
broadcasts of x feed ROWS * vectors multiply-adds.
"""

import operator

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

_FEATURES = llvm.get_host_cpu_features()
AVX512 = bool(_FEATURES.get("avx512f"))
LANES = 16 if AVX512 else 8  # numbers in one vector
TERMS = 256  # of a sum that are added up in one go
ROWS = 8 if AVX512 else 6  # rows of the register tile: ROWS * 2 accumulators, 16 of 32 or 12 of 16 registers


# ---------------------------------------------------------------- the type


class Lanes(types.Type):
    """A vector of LANES numbers of one dtype, held in registers."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=f"Lanes({LANES} x {dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(dmm.lookup(fe_type.dtype).get_data_type(), LANES))


def pointer_to(context, builder, array_type, array, index):
    """Address of element `index` of a C-contiguous array, counted flat."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def itemsize(array_type):
    return array_type.dtype.bitwidth // 8


def vector_type(context, array_type):
    return ir.VectorType(context.get_data_type(array_type.dtype), LANES)


def load_vector(builder, vector, pointer, itemsize, at=0):
    if at:
        pointer = builder.gep(pointer, [ir.Constant(ir.IntType(64), at)])
    value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    value.align = itemsize
    return value


def store_vector(builder, value, pointer, itemsize, at=0):
    if at:
        pointer = builder.gep(pointer, [ir.Constant(ir.IntType(64), at)])
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = itemsize


def splat(builder, scalar, lanes=LANES):
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)


def constant(vector, value):
    return ir.Constant(vector, [ir.Constant(vector.element, value)] * vector.count)


def fma_of(builder, a, b, c):
    """a * b + c by LLVM's own intrinsic: rounded once, on every target."""
    element = "f32" if a.type.element == ir.FloatType() else "f64"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(a.type, [a.type] * 3), f"llvm.fma.v{LANES}{element}"
    )
    return builder.call(function, [a, b, c])


# ---------------------------------------------------------------- loads, stores, arithmetic


@intrinsic
def load(typingctx, array, index):
    """LANES numbers of `array` from flat index `index` on."""

    def codegen(context, builder, sig, args):
        pointer = pointer_to(context, builder, array, args[0], args[1])
        return load_vector(builder, vector_type(context, array), pointer, itemsize(array))

    return Lanes(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """array[index : index + LANES] = value, flat."""

    def codegen(context, builder, sig, args):
        store_vector(builder, args[2], pointer_to(context, builder, array, args[0], args[1]), itemsize(array))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def fill(typingctx, array, scalar):
    """A vector of `array`'s dtype whose every lane is `scalar`."""

    def codegen(context, builder, sig, args):
        return splat(builder, context.cast(builder, args[1], scalar, array.dtype))

    return Lanes(array.dtype)(array, scalar), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once."""

    def codegen(context, builder, sig, args):
        return fma_of(builder, *args)

    return a(a, b, c), codegen


@intrinsic
def relu(typingctx, a):
    """max(a, 0) lane by lane; NaN stays NaN."""

    def codegen(context, builder, sig, args):
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[0])

    return a(a), codegen


@intrinsic
def where_positive(typingctx, z, g):
    """g where z > 0, else 0: the backward of relu."""

    def codegen(context, builder, sig, args):
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[1])

    return g(z, g), codegen


@intrinsic
def where_greater(typingctx, a, b, x, y):
    """x where a > b or a is NaN, else y.  where_greater(a, b, a, b) is a maximum that keeps NaN."""

    def codegen(context, builder, sig, args):
        a_, b_, x_, y_ = args
        return builder.select(
            builder.or_(builder.fcmp_ordered(">", a_, b_), builder.fcmp_unordered("uno", a_, a_)), x_, y_
        )

    return x(a, b, x, y), codegen


@intrinsic
def lesser(typingctx, a, b):
    """The lesser number of each lane; b where one of them is NaN."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, b), codegen


@intrinsic
def sum_of_lanes(typingctx, a):
    """The sum of a vector's numbers, halves first: the same bits on every machine with the same LANES."""

    def codegen(context, builder, sig, args):
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            halves = [
                ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(first, first + width)))
                for first in (0, width)
            ]
            value = builder.fadd(*(builder.shuffle_vector(value, value, half) for half in halves))
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return a.dtype(a), codegen


def _define_operator(op, method):
    @infer_global(op)
    class _LanesOperator(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Lanes) and args[0] == args[1]:
                return signature(args[0], *args)

    @lower_builtin(op, Lanes, Lanes)
    def _lower(context, builder, sig, args):
        return getattr(builder, method)(*args)


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")


# ---------------------------------------------------------------- the microkernel


@intrinsic
def gather_gemm(
    typingctx,
    vectors,
    out,
    out_at,
    out_stride,
    out_vector,
    x,
    x_at,
    rows,
    rows_at,
    taps,
    taps_at,
    n_taps,
    w,
    w_at,
    w_stride,
    accumulate,
):
    """out[a, l] (+)= sum_b x[rows[a] + taps[b]] * w[b, l]: one register tile (see the head of this file).

    vectors     how many vectors of LANES wide the tile is: a literal, 1 or 2
    out         array; row a starts at flat index out_at + a * out_stride, its second vector out_vector later
    x           array; element (a, b) at flat index x_at + rows[rows_at + a] + taps[taps_at + b]
    w           array; row b starts at flat index w_at + b * w_stride
    accumulate  whether the sum is added to what out holds. It is summed up by itself first: where a long sum is cut
                into calls, each of `TERMS` or so, its error grows with their length and number, not with its own.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    width = vectors.literal_value
    intp = types.intp

    def codegen(context, builder, sig, args):
        (
            _,
            out_v,
            out_at,
            out_stride,
            out_vector,
            x_v,
            x_at,
            rows_v,
            rows_at,
            taps_v,
            taps_at,
            n_taps,
            w_v,
            w_at,
            w_stride,
            accumulate,
        ) = args
        vector = vector_type(context, out)
        size = itemsize(out)
        index = context.get_value_type(intp)

        def out_cell(a, v):
            row = builder.add(out_at, builder.mul(out_stride, ir.Constant(index, a)))
            return pointer_to(
                context, builder, out, out_v, builder.add(row, builder.mul(out_vector, ir.Constant(index, v)))
            )

        row_table = pointer_to(context, builder, rows, rows_v, rows_at)
        x_rows = []
        for a in range(ROWS):
            offset = builder.load(builder.gep(row_table, [ir.Constant(index, a)]))
            x_rows.append(pointer_to(context, builder, x, x_v, builder.add(x_at, offset)))
        tap_table = pointer_to(context, builder, taps, taps_v, taps_at)
        w_0 = pointer_to(context, builder, w, w_v, w_at)

        acc = [[cgutils.alloca_once(builder, vector) for _ in range(width)] for _ in range(ROWS)]
        zero = ir.Constant(vector, None)
        for a in range(ROWS):
            for v in range(width):
                builder.store(zero, acc[a][v])

        # Two running pointers and one end: with the ROWS row pointers they just fit the integer registers.
        end = builder.gep(tap_table, [n_taps])
        tap_cell = cgutils.alloca_once_value(builder, tap_table)
        w_cell = cgutils.alloca_once_value(builder, w_0)
        head, body, done = (builder.append_basic_block(f"taps.{name}") for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        tap_pointer = builder.load(tap_cell)
        builder.cbranch(builder.icmp_unsigned("!=", tap_pointer, end), body, done)
        builder.position_at_end(body)
        w_b = builder.load(w_cell)
        tap = builder.load(tap_pointer)
        w_vectors = [load_vector(builder, vector, w_b, size, v * LANES) for v in range(width)]
        for a in range(ROWS):
            x_ab = splat(builder, builder.load(builder.gep(x_rows[a], [tap])))
            for v in range(width):
                builder.store(fma_of(builder, x_ab, w_vectors[v], builder.load(acc[a][v])), acc[a][v])
        builder.store(builder.gep(tap_pointer, [ir.Constant(index, 1)]), tap_cell)
        builder.store(builder.gep(w_b, [w_stride]), w_cell)
        builder.branch(head)
        builder.position_at_end(done)

        with builder.if_then(accumulate):
            for a in range(ROWS):
                for v in range(width):
                    before = load_vector(builder, vector, out_cell(a, v), size)
                    builder.store(builder.fadd(before, builder.load(acc[a][v])), acc[a][v])
        for a in range(ROWS):
            for v in range(width):
                store_vector(builder, builder.load(acc[a][v]), out_cell(a, v), size)
        return context.get_dummy_value()

    sig = types.void(
        vectors, out, intp, intp, intp, x, intp, rows, intp, taps, intp, intp, w, intp, intp, types.boolean
    )
    return sig, codegen


@intrinsic
def transpose(typingctx, source, source_at, source_stride, target, target_at, target_stride):
    """target[l, m] = source[m, l] for a block of LANES x LANES numbers, in log2(LANES) rounds of shuffles.

    Round d swaps the off-diagonal d x d blocks of each pair of vectors (m, m + d): 4 rounds of 16 shuffles for 16.
    """
    intp = types.intp

    def codegen(context, builder, sig, args):
        source_v, source_at, source_stride, target_v, target_at, target_stride = args
        vector = vector_type(context, source)
        size = itemsize(source)
        index = context.get_value_type(intp)
        i32 = ir.IntType(32)

        def row(array, value, at, stride, m):
            return pointer_to(
                context, builder, array, value, builder.add(at, builder.mul(stride, ir.Constant(index, m)))
            )

        v = [
            load_vector(builder, vector, row(source, source_v, source_at, source_stride, m), size) for m in range(LANES)
        ]
        d = LANES // 2
        while d:
            low = [k if not k & d else LANES + (k ^ d) for k in range(LANES)]
            high = [k ^ d if not k & d else LANES + k for k in range(LANES)]
            masks = [ir.Constant(ir.VectorType(i32, LANES), [ir.Constant(i32, k) for k in m]) for m in (low, high)]
            for m in range(LANES):
                if not m & d:
                    a, b = v[m], v[m | d]
                    v[m] = builder.shuffle_vector(a, b, masks[0])
                    v[m | d] = builder.shuffle_vector(a, b, masks[1])
            d //= 2
        for m in range(LANES):
            store_vector(builder, v[m], row(target, target_v, target_at, target_stride, m), size)
        return context.get_dummy_value()

    return types.void(source, intp, intp, target, intp, intp), codegen
