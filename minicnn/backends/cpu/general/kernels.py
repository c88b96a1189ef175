"""The three passes of a general convolution, as kernels that `launch` runs.

Who owns what: forward, a worker owns filters of one group in one image of y; in the input gradient, channels of one
group in one image of dx; in the weight gradient, filters and channels of one group, for which it goes through the
images in their order.
"""

import numpy as np

from minicnn.backends.cpu.convolution.patches import copy
from minicnn.backends.cpu.general.job import CHANNELS, FILTERS, Convolution, convolution_of, share
from minicnn.backends.cpu.general.plain import forward_plane, input_gradient_plane, weight_gradient_plane
from minicnn.backends.cpu.general.taps import SLACK, Seen, products, weighted_sums
from minicnn.backends.cpu.runtime.jit import by_pointer, serial
from minicnn.backends.cpu.taps import Layout, Places, sort, sort_back
from minicnn.plain import Array

# Memory to work with has rows that are sorted planes, outputs, or two phases of outputs with zeros around them, and
# behind each what vectors read.


@by_pointer
def forward(arrays: tuple[Array, ...], numbers: Array, table: Array, memory: Array, worker: int) -> None:
    """arrays: x, weight, bias, y."""
    x, weight, bias, y = arrays[:4]
    conv, places, layout = convolution_of(numbers)
    weight = weight.reshape(bias.size, weight.size // bias.size)
    parts = (conv.filters + FILTERS - 1) // FILTERS
    pitch, together = layout.phases * layout.phase_size + SLACK, min(FILTERS, conv.filters)
    spread = _rows(memory, 0, conv.channels, pitch)
    sums = _rows(memory, spread.size, together, layout.outputs + SLACK)
    spread[:] = 0
    _note_shifts(places, conv.channels, pitch, table)
    no_shift = conv.taps * 0  # not 0 itself, for which Numba would compile all again
    start, stop = share(worker, conv, conv.images * conv.groups * parts)
    for number in range(start, stop):
        group_number, part = divmod(number, parts)
        n, group = divmod(group_number, conv.groups)
        first = group * conv.filters + part * FILTERS
        last = min(first + FILTERS, (group + 1) * conv.filters)
        if conv.taps == 0:
            for f in range(first, last):
                forward_plane(x, n, f, weight[f], bias[f], conv, y)
            continue
        if part == 0 or number == start:
            _sort_planes(x, conv, group_number * conv.channels, conv.channels, places, spread)
        seen = Seen(memory, 0, table, layout.outputs)
        weighted_sums(seen, weight[first:last], bias[first:last], sums, no_shift)
        for f in range(first, last):
            y_at = (n * bias.size + f) * conv.out_h * conv.out_w
            for p in range(conv.out_h):
                copy(sums[f - first], p * layout.pitch, y, y_at + p * conv.out_w, conv.out_w)


@by_pointer
def input_gradient(arrays: tuple[Array, ...], numbers: Array, table: Array, memory: Array, worker: int) -> None:
    """arrays: dy, weight, dx. By taps, the outputs of a group's filters lie in rows of zeros as long as two phases,
    from the second on."""
    dy, weight, dx = arrays[:3]
    conv, places, layout = convolution_of(numbers)
    n_filters = conv.groups * conv.filters
    weight = weight.reshape(n_filters, weight.size // n_filters)
    size, together = conv.height * conv.width, min(FILTERS, conv.channels)
    parts = (conv.channels + FILTERS - 1) // FILTERS
    spread = _rows(memory, 0, together, layout.phases * layout.phase_size + SLACK)
    grads = _rows(memory, spread.size, conv.filters, 2 * layout.phase_size + SLACK)
    zeros = memory[spread.size + grads.size :][:together]
    of_phase = memory[spread.size + grads.size + together :]
    grads[:] = 0
    zeros[:] = 0
    start, stop = share(worker, conv, conv.images * conv.groups * parts)
    for number in range(start, stop):
        group_number, part = divmod(number, parts)
        group, first = group_number % conv.groups, part * FILTERS
        last = min(first + FILTERS, conv.channels)
        of_group = weight[group * conv.filters : (group + 1) * conv.filters]
        planes_at = group_number * conv.channels
        if conv.taps == 0:
            for c in range(first, last):
                plane = dx[(planes_at + c) * size : (planes_at + c + 1) * size]
                input_gradient_plane(dy, group_number, c, of_group, conv, plane)
            continue
        if part == 0 or number == start:
            for f in range(conv.filters):
                _spread_rows(dy, group_number * conv.filters + f, conv, layout, grads[f], layout.phase_size)
        for phase in range(layout.phases):
            at = phase * layout.phase_size
            n_back = _note_taps_back(places, at, layout, of_group, first, last, grads.shape[1], table, of_phase)
            seen = Seen(memory, spread.size + layout.phase_size, table[:n_back], layout.phase_size)
            weights = _rows(of_phase, 0, last - first, n_back)
            weighted_sums(seen, weights, zeros[: last - first], spread, at)
        for c in range(first, last):
            sort_back(spread[c - first], places, dx[(planes_at + c) * size : (planes_at + c + 1) * size])


@by_pointer
def weight_gradient(arrays: tuple[Array, ...], numbers: Array, table: Array, memory: Array, worker: int) -> None:
    """arrays: dy, x, dweight. A part is up to FILTERS filters and CHANNELS channels of a group."""
    dy, x, dweight = arrays[:3]
    conv, places, layout = convolution_of(numbers)
    of_filters, of_channels = (conv.filters + FILTERS - 1) // FILTERS, (conv.channels + CHANNELS - 1) // CHANNELS
    window = conv.kernel_h * conv.kernel_w
    dweight = dweight.reshape(conv.groups * conv.filters, conv.channels * window)
    spread = _rows(memory, 0, min(CHANNELS, conv.channels), layout.phases * layout.phase_size + SLACK)
    grads = _rows(memory, spread.size, min(FILTERS, conv.filters), layout.outputs + SLACK)
    memory[:] = 0
    shifts = table[: min(CHANNELS, conv.channels) * conv.taps]
    _note_shifts(places, min(CHANNELS, conv.channels), spread.shape[1], shifts)
    start, stop = share(worker, conv, conv.groups * of_filters * of_channels)
    for number in range(start, stop):
        rest, of_channel = divmod(number, of_channels)
        group, of_filter = divmod(rest, of_filters)
        filter_, channel = of_filter * FILTERS, of_channel * CHANNELS
        n_filters, n_channels = min(FILTERS, conv.filters - filter_), min(CHANNELS, conv.channels - channel)
        total = table[shifts.size : shifts.size + n_filters * n_channels * window].view(np.float64)
        total = total.reshape(n_filters, n_channels * window)
        total[:] = 0
        for n in range(conv.images):
            group_number = n * conv.groups + group
            dy_at, x_at = group_number * conv.filters + filter_, group_number * conv.channels + channel
            if conv.taps:
                _sort_planes(x, conv, x_at, n_channels, places, spread)
                for f in range(n_filters):
                    _spread_rows(dy, dy_at + f, conv, layout, grads[f], 0)
                products(grads, Seen(memory, 0, shifts, layout.outputs), total)
            else:
                for f in range(n_filters):
                    for c in range(n_channels):
                        own = total[f, c * window : (c + 1) * window]
                        weight_gradient_plane(dy, dy_at + f, x, x_at + c, conv, own)
        first = group * conv.filters + filter_
        for f in range(n_filters):
            for t in range(n_channels * window):
                dweight[first + f, channel * window + t] = total[f, t]


@serial
def _rows(memory: Array, at: int, rows: int, pitch: int) -> Array:
    return memory[at : at + rows * pitch].reshape(rows, pitch)


@serial
def _sort_planes(x: Array, conv: Convolution, first: int, count: int, places: Places, spread: Array) -> None:
    """Planes from `first` on to the rows of `spread`."""
    size = conv.height * conv.width
    for c in range(count):
        sort(x[(first + c) * size : (first + c + 1) * size], places, spread[c])


@serial
def _note_shifts(places: Places, planes: int, pitch: int, shifts: Array) -> None:
    """Where the taps of one plane after the other are, counted from the first."""
    n_taps = places.shifts.size
    for c in range(planes):
        for t in range(n_taps):
            shifts[c * n_taps + t] = c * pitch + places.shifts[t]


@serial
def _spread_rows(dy: Array, number: int, conv: Convolution, layout: Layout, grads: Array, start: int) -> None:
    """Rows of a plane of outputs to their places, from `start` on; what is between them is not touched."""
    first = number * conv.out_h * conv.out_w
    for p in range(conv.out_h):
        copy(dy, first + p * conv.out_w, grads, start + p * layout.pitch, conv.out_w)


@serial
def _note_taps_back(
    places: Places,
    at: int,
    layout: Layout,
    weight: Array,
    first: int,
    last: int,
    pitch: int,
    back: Array,
    of_phase: Array,
) -> int:
    """For the phase that begins at `at`: what its taps are shifted back by, to `back`, and their weights for channels
    `first` to `last`, to `of_phase`, a row for each. weight: (filters, channels * taps). Returns how many they are."""
    n_taps, n_back, n_of_phase = places.shifts.size, 0, 0
    for t in range(n_taps):
        if at <= places.shifts[t] < at + layout.phase_size:
            n_of_phase += 1
    for f in range(len(weight)):
        for t in range(n_taps):
            if at <= places.shifts[t] < at + layout.phase_size:
                back[n_back] = f * pitch + at - places.shifts[t]
                for c in range(first, last):
                    of_phase[(c - first) * len(weight) * n_of_phase + n_back] = weight[f, c * n_taps + t]
                n_back += 1
    return n_back
