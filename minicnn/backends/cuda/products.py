"""Products of matrices, and convolutions as products of matrices that are never written down (implicit GEMM).

All three kernels here are one scheme. A block makes one tile of the result. It takes DEPTH terms of the sums at a time:
its threads fetch a strip of either factor into shared memory, wait for one another, and then each adds the terms to
the SIDE × SIDE sums that it holds in registers:

    for each strip:
        fetch left strip (DEPTH, rows), right strip (DEPTH, columns)
        all threads wait
        for depth in strip:  sums[a, b] += left[depth, a] * right[depth, b]
        all threads wait, for the strip is about to be overwritten

They differ in where the factors come from. The columns of a convolution are pixels of the whole batch, whatever the
sizes of its images; its terms are *taps* (c, i, j), and "fetch" looks up the pixel that a tap sees, or takes 0 where it
sees padding. So no padded copy and no matrix of patches is ever made.

On the way in and out a convolution may do what stands before and after it in a block, by `coefficients`:

    source  PLAIN       what is read is x
            ACTIVATION  x is the raw output y of the block below, and what is read is its activation
            GRADIENT    x is the gradient g at z, and what is read is dy, with y as the second array
    sink    PLAIN       y = sum + bias
            MOMENTS     the same, and for each row of the tile its mean and the squared distances from it
            MASKED      g = sum where the activation under it let a number through, else 0; and for each row of the
                        tile the sums of g and of g * (y - mean)

Who owns what: a block the tile it writes, a thread its square of it, and a block its record among the partial sums.
No two blocks write to the same place, so nothing need be atomic, and results are the same in every run. No thread
leaves before the last `syncthreads`; where a tile sticks out of the result, it works on zeros and writes nothing.
"""

from functools import lru_cache

import numpy as np

from minicnn.backends.cuda.coefficients import activated, distance_and_z, gradient_of_y
from minicnn.backends.cuda.elementwise import own_number
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.tiles import DEPTH, PIXELS, SIDE, TILE_THREADS
from minicnn.geometry import fixed_start

PLAIN, ACTIVATION, GRADIENT, MOMENTS, MASKED = range(5)
JOB = 10  # numbers at the head of a plan: see `numbers_of_job` and `steps_of_job`
TAP = 4  # numbers of a tap in a plan: channel, i, j, place of its weight in a row of weights
NOWHERE = 2**30  # all numbers of a tap that only fills up a strip: no image is so large that it would see a pixel
IMAGE = 6  # numbers of an image: height, width and first pixel of what is read, and of what is written
HALF = SIDE // 2
window_start = inlined(fixed_start)  # the package's own formula, compiled for the device
FULL = np.uint64  # of an index; a signed one could count from the end, which takes instructions to find out


@inlined
def add_products(left, left_at, right, right_at, right_gap, sums):
    """sums[a, b] += left[a] * right[b], for the square of one thread. Its columns are two runs of HALF."""
    for a in range(SIDE):
        factor = left[FULL(left_at + a)]
        for b in range(HALF):
            sums[a * SIDE + b] += factor * right[FULL(right_at + b)]
            sums[a * SIDE + HALF + b] += factor * right[FULL(right_at + right_gap + b)]


@inlined
def add_strip(left, left_at, left_pitch, right, right_at, right_pitch, gap, sums):
    """The products of a strip's DEPTH terms. Two terms a turn, and no counter beside the places, for each turn of a
    loop costs ten instructions to 64 multiply-adds for a term."""
    stop = DEPTH * left_pitch
    while left_at < stop:
        add_products(left, left_at, right, right_at, gap, sums)
        add_products(left, left_at + left_pitch, right, right_at + right_pitch, gap, sums)
        left_at += 2 * left_pitch
        right_at += 2 * right_pitch


@inlined
def divided(number, divisor):
    """number // divisor and the remainder, neither below 0, in 32 bits; for 64 the device would call a function."""
    quotient = np.int32(np.uint32(number) // np.uint32(divisor))
    return quotient, np.int32(number - quotient * divisor)


@inlined
def whole_strips(taps):
    """How many taps a plan has, with those that fill up the last strip."""
    return (taps + DEPTH - 1) // DEPTH * DEPTH


@inlined
def numbers_of_job(plan):
    """Channels that are read, rows of the result, from one row of weights to the next (in a weight gradient, pixels of
    a block), taps, pixels that are written, images."""
    return plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]


@inlined
def steps_of_job(plan):
    """Stride and padding, each down and across."""
    return plan[6], plan[7], plan[8], plan[9]


@inlined
def image_of(pixel, plan, at, n_images):
    """The image that has this pixel among those that are written, by halving: images are in order."""
    low, high = 0, n_images
    while high - low > 1:
        middle = (low + high) // 2
        if plan[FULL(at + middle * IMAGE + 5)] <= pixel:
            low = middle
        else:
            high = middle
    return low


@lru_cache
def convolution(real, tile, source, sink, transposed, strided):
    """The kernel of a convolution, or if `transposed` of its input gradient, for numbers of type `real`.

    x (channels in, …), weight and bias -> y (rows, …). Transposed, the roles are swapped: x is dy, and pixel r of the
    result collects from the outputs p that saw it, p * stride - padding + i = r. `strided`: whether strides are not 1.

    Arguments of the kernel: x, the second array of the source and its coefficients; weight, bias; the plan, that is the
    numbers of the job, taps, and images; y, the second array of the sink and its coefficients; and the partial sums
    (tiles, rows, 2).
    """
    ROWS, COLUMNS = tile
    PITCH = ROWS + 4  # of the left strip: threads that fetch neighbouring terms write to different banks
    ACROSS = COLUMNS // SIDE  # threads side by side in a tile
    GAP = COLUMNS // 2  # between the two runs of columns of a thread
    LEFT, RIGHT, SUMS = DEPTH * PITCH, DEPTH * COLUMNS, SIDE * SIDE
    RECORDS = ROWS * ACROSS
    zero = real(0)

    def kernel(x, x_raw, x_numbers, weight, bias, plan, y, y_raw, y_numbers, partial):
        left = cuda.shared.array(LEFT, real)
        right = cuda.shared.array(RIGHT, real)
        heights = cuda.shared.array(COLUMNS, np.int32)  # of the image that each column reads
        widths = cuda.shared.array(COLUMNS, np.int32)
        tops = cuda.shared.array(COLUMNS, np.int32)  # where the window of tap (0, 0) lies
        lefts = cuda.shared.array(COLUMNS, np.int32)
        reads_at = cuda.shared.array(COLUMNS, np.int64)  # the image's first number
        writes_at = cuda.shared.array(COLUMNS, np.int64)  # the column's place in row 0 of the result
        planes = cuda.shared.array(COLUMNS, np.int32)  # from there to its place in row 1
        sums = cuda.local.array(SUMS, real)

        channels, rows, row_pitch, taps, pixels, n_images = numbers_of_job(plan)
        stride_h, stride_w, pad_h, pad_w = steps_of_job(plan)
        images_at = JOB + whole_strips(taps) * TAP
        thread = cuda.threadIdx.x
        first_row, first_pixel = cuda.blockIdx.y * ROWS, cuda.blockIdx.x * np.int64(COLUMNS)
        down, across = thread // ACROSS, thread % ACROSS
        for cell in range(SUMS):
            sums[cell] = zero

        for column in range(thread, COLUMNS, TILE_THREADS):
            pixel = first_pixel + column
            heights[column], widths[column] = 0, 0  # a column beyond the last pixel reads zeros,
            tops[column], lefts[column] = 0, 0  # and counts from a number, not from uninitialised memory
            if pixel < pixels:
                n = image_of(pixel, plan, images_at, n_images)
                at = images_at + n * IMAGE
                out_h, out_w = np.int32(plan[FULL(at + 3)]), np.int32(plan[FULL(at + 4)])
                inside = np.int32(pixel - plan[FULL(at + 5)])
                p, q = divided(inside, out_w)
                heights[column], widths[column] = plan[FULL(at)], plan[FULL(at + 1)]
                if transposed:
                    tops[column], lefts[column] = p + pad_h, q + pad_w
                else:
                    tops[column], lefts[column] = window_start(p, stride_h, pad_h), window_start(q, stride_w, pad_w)
                reads_at[column] = plan[FULL(at + 2)] * channels
                writes_at[column] = plan[FULL(at + 5)] * rows + inside
                planes[column] = out_h * out_w

        for first_tap in range(0, taps, DEPTH):
            for cell in range(thread, ROWS * DEPTH, TILE_THREADS):
                row, depth = cell // DEPTH, cell % DEPTH
                number = zero
                if first_row + row < rows and first_tap + depth < taps:
                    place = plan[FULL(JOB + (first_tap + depth) * TAP + 3)]
                    number = weight[FULL((first_row + row) * row_pitch + place)]
                left[FULL(depth * PITCH + row)] = number
            for depth in range(DEPTH):
                at = JOB + (first_tap + depth) * TAP
                c, i, j = plan[FULL(at)], plan[FULL(at + 1)], plan[FULL(at + 2)]
                for column in range(thread, COLUMNS, TILE_THREADS):
                    number = zero
                    if transposed:
                        r, s = tops[column] - np.int32(i), lefts[column] - np.int32(j)
                        hit = r >= 0 and s >= 0
                        if strided:
                            r, r_rest = divided(r, stride_h)
                            s, s_rest = divided(s, stride_w)
                            hit = hit and r_rest == 0 and s_rest == 0
                    else:
                        r, s = tops[column] + np.int32(i), lefts[column] + np.int32(j)
                        hit = r >= 0 and s >= 0
                    height, width = heights[column], widths[column]
                    if hit and r < height and s < width:
                        at = reads_at[column] + c * (height * width) + (r * width + s)
                        number = x[FULL(at)]
                        if source == ACTIVATION:
                            number = activated(number, x_numbers, c, channels, zero)
                        if source == GRADIENT:
                            number = gradient_of_y(number, x_raw[FULL(at)], x_numbers, c, channels)
                    right[FULL(depth * COLUMNS + column)] = number
            cuda.syncthreads()
            add_strip(left, down * SIDE, PITCH, right, across * HALF, COLUMNS, GAP, sums)
            cuda.syncthreads()

        if sink == PLAIN:
            for a in range(SIDE):
                row = first_row + down * SIDE + a
                for b in range(SIDE):
                    column = across * HALF + b % HALF + b // HALF * GAP
                    if row < rows and first_pixel + column < pixels:
                        y[FULL(writes_at[column] + row * planes[column])] = sums[a * SIDE + b] + bias[FULL(row)]
        else:
            record = cuda.shared.array(RECORDS, real)
            record_2 = cuda.shared.array(RECORDS, real)
            means = cuda.shared.array(ROWS, real)
            for a in range(SIDE):
                row = first_row + down * SIDE + a
                total, total_2 = zero, zero
                for b in range(SIDE):
                    column = across * HALF + b % HALF + b // HALF * GAP
                    if row < rows and first_pixel + column < pixels:
                        at = FULL(writes_at[column] + row * planes[column])
                        number = sums[a * SIDE + b]
                        if sink == MOMENTS:
                            number += bias[FULL(row)]
                            sums[a * SIDE + b] = number
                        else:
                            distance, z = distance_and_z(y_raw[at], y_numbers, row, rows)
                            if z <= zero:
                                number = zero
                            total_2 += number * distance
                        y[at] = number
                        total += number
                record[FULL((down * SIDE + a) * ACROSS + across)] = total
                record_2[FULL((down * SIDE + a) * ACROSS + across)] = total_2
            cuda.syncthreads()
            count = min(np.int64(COLUMNS), pixels - first_pixel)
            for row in range(thread, ROWS, TILE_THREADS):
                total, total_2 = zero, zero
                for other in range(ACROSS):
                    total += record[FULL(row * ACROSS + other)]
                    total_2 += record_2[FULL(row * ACROSS + other)]
                if sink == MOMENTS:
                    total /= real(count)
                means[FULL(row)] = total
                if first_row + row < rows:
                    at = (cuda.blockIdx.x * np.int64(rows) + first_row + row) * 2
                    partial[FULL(at)] = total
                    partial[FULL(at + 1)] = total_2
            if sink == MOMENTS:
                cuda.syncthreads()
                for a in range(SIDE):
                    total = zero
                    for b in range(SIDE):
                        column = across * HALF + b % HALF + b // HALF * GAP
                        if first_pixel + column < pixels:
                            distance = sums[a * SIDE + b] - means[FULL(down * SIDE + a)]
                            total += distance * distance
                    record[FULL((down * SIDE + a) * ACROSS + across)] = total
                cuda.syncthreads()
                for row in range(thread, ROWS, TILE_THREADS):
                    total = zero
                    for other in range(ACROSS):
                        total += record[FULL(row * ACROSS + other)]
                    if first_row + row < rows:
                        partial[FULL((cuda.blockIdx.x * np.int64(rows) + first_row + row) * 2 + 1)] = total

    return kernel


@lru_cache
def weight_gradient(real, tile, x_source, dy_source):
    """The kernel of a convolution's weight gradient: partial sums of dweight (F, taps) over a stretch of the pixels.

    Rows are filters, columns taps, and the terms are pixels: dy[f, pixel] * x[what the tap sees from that pixel]. Block
    (., ., z) owns partial[z], the sum over pixels z * stretch to (z + 1) * stretch. The plan is the forward pass's.
    """
    ROWS, COLUMNS = tile
    PITCH, RIGHT_PITCH = ROWS + 4, COLUMNS + 4
    ACROSS, GAP = COLUMNS // SIDE, COLUMNS // 2
    LEFT, RIGHT, SUMS = DEPTH * PITCH, DEPTH * RIGHT_PITCH, SIDE * SIDE
    zero = real(0)

    def kernel(x, x_numbers, dy, dy_raw, dy_numbers, plan, partial):
        left = cuda.shared.array(LEFT, real)
        right = cuda.shared.array(RIGHT, real)
        tap_c = cuda.shared.array(COLUMNS, np.int32)
        tap_i = cuda.shared.array(COLUMNS, np.int32)
        tap_j = cuda.shared.array(COLUMNS, np.int32)
        heights = cuda.shared.array(PIXELS, np.int32)  # of the image of each pixel
        widths = cuda.shared.array(PIXELS, np.int32)
        tops = cuda.shared.array(PIXELS, np.int32)
        lefts = cuda.shared.array(PIXELS, np.int32)
        x_at = cuda.shared.array(PIXELS, np.int64)
        dy_at = cuda.shared.array(PIXELS, np.int64)
        planes = cuda.shared.array(PIXELS, np.int32)
        sums = cuda.local.array(SUMS, real)

        channels, rows, stretch, taps, pixels, n_images = numbers_of_job(plan)
        stride_h, stride_w, pad_h, pad_w = steps_of_job(plan)
        images_at = JOB + whole_strips(taps) * TAP
        thread = cuda.threadIdx.x
        first_row, first_tap = cuda.blockIdx.y * ROWS, cuda.blockIdx.x * COLUMNS
        down, across = thread // ACROSS, thread % ACROSS
        for cell in range(SUMS):
            sums[cell] = zero
        for column in range(thread, COLUMNS, TILE_THREADS):
            tap = min(first_tap + column, taps - 1)  # beyond the last tap nothing is written
            at = JOB + tap * TAP
            tap_c[column], tap_i[column], tap_j[column] = plan[FULL(at)], plan[FULL(at + 1)], plan[FULL(at + 2)]

        start = cuda.blockIdx.z * stretch
        stop = min(start + stretch, pixels)
        for first in range(start, stop, PIXELS):
            # Nobody reads the pixels before these any more: their last strip ended with a barrier.
            for number in range(thread, PIXELS, TILE_THREADS):
                pixel = first + number
                planes[number] = 0  # beyond the last pixel dy is 0, and x, which could be NaN, is not read
                if pixel < stop:
                    at = images_at + image_of(pixel, plan, images_at, n_images) * IMAGE
                    out_h, out_w = np.int32(plan[FULL(at + 3)]), np.int32(plan[FULL(at + 4)])
                    inside = np.int32(pixel - plan[FULL(at + 5)])
                    heights[number], widths[number] = plan[FULL(at)], plan[FULL(at + 1)]
                    p, q = divided(inside, out_w)
                    tops[number], lefts[number] = window_start(p, stride_h, pad_h), window_start(q, stride_w, pad_w)
                    x_at[number] = plan[FULL(at + 2)] * channels
                    dy_at[number] = plan[FULL(at + 5)] * rows + inside
                    planes[number] = out_h * out_w
            cuda.syncthreads()
            for strip in range(0, PIXELS, DEPTH):
                for cell in range(thread, ROWS * DEPTH, TILE_THREADS):
                    f, depth = cell // DEPTH, cell % DEPTH
                    row, number = first_row + f, zero
                    plane = planes[strip + depth]
                    if row < rows and plane > 0:
                        at = dy_at[strip + depth] + row * plane
                        number = dy[FULL(at)]
                        if dy_source == GRADIENT:
                            number = gradient_of_y(number, dy_raw[FULL(at)], dy_numbers, row, rows)
                    left[FULL(depth * PITCH + f)] = number
                for cell in range(thread, COLUMNS * DEPTH, TILE_THREADS):
                    column, depth = cell // DEPTH, cell % DEPTH
                    c, number = tap_c[column], zero
                    r, s = tops[strip + depth] + tap_i[column], lefts[strip + depth] + tap_j[column]
                    height, width = heights[strip + depth], widths[strip + depth]
                    if planes[strip + depth] > 0 and r >= 0 and s >= 0 and r < height and s < width:
                        at = x_at[strip + depth] + c * (height * width) + (r * width + s)
                        number = x[FULL(at)]
                        if x_source == ACTIVATION:
                            number = activated(number, x_numbers, c, channels, zero)
                    right[FULL(depth * RIGHT_PITCH + column)] = number
                cuda.syncthreads()
                add_strip(left, down * SIDE, PITCH, right, across * HALF, RIGHT_PITCH, GAP, sums)
                cuda.syncthreads()

        for a in range(SIDE):
            row = first_row + down * SIDE + a
            for b in range(SIDE):
                tap = first_tap + across * HALF + b % HALF + b // HALF * GAP
                if row < rows and tap < taps:
                    at = (cuda.blockIdx.z * np.int64(rows) + row) * taps + tap
                    partial[FULL(at)] = sums[a * SIDE + b]

    return kernel


def add_partial_sums(partial, total, size, parts):
    """total[i] = sum of partial[part, i] over the parts, in order. Each thread owns one number of the total."""
    i = own_number()
    if i < size:
        number = partial[FULL(i)]
        for k in range(1, parts):
            number += partial[FULL(k * size + i)]
        total[FULL(i)] = number
