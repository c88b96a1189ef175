"""The inspector's page as a test sees it: views to open, cells to click, numbers to read, and what they must be.

Every `check_…` compares what the page shows, or what its functions give, with the arrays that `networks.step` has from
the framework. A number that the framework stored must be the same to the last bit; a sum that the page adds up
itself may differ by rounding: 1e-10 of the array's largest number in float64, 1e-5 in float32.
"""

import base64

import numpy as np

from minicnn import LogSoftmax, geometry

# All numbers of an array that are in the page, read by `get` at their true indices, as base64.
NUMBERS = """(array) => {
    let places = [[]];
    array.shape.forEach((_, axis) => {
        places = places.flatMap((place) => array.kept(axis).map((index) => [...place, index]));
    });
    const bytes = new Uint8Array(Float64Array.from(places, (place) => array.get(...place)).buffer);
    let text = "";
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return {shape: array.shape, kept: array.shape.map((_, axis) => array.kept(axis)), data: btoa(text)};
}"""


class Inspector:
    """A page of the inspector that is open, and the step that it is to show."""

    def __init__(self, page, step):
        self.page, self.step = page, step

    # What a reader does

    def show(self, name):
        """Open a view by its link: a layer's, "overview", "loss" or "replay". Returns what `step` has of the layer."""
        links = self.page.locator("#layers a")
        names = links.evaluate_all("all => all.map(link => link.firstChild.textContent)")
        links.nth(names.index("Overview" if name == "overview" else name)).click()
        self.page.locator(f'[data-view="{name}"], [data-layer="{name}"]').wait_for()
        return self.step.layers.get(name)

    def map(self, role):
        """The map of that role."""
        found = self.page.locator(f'#view [data-map="{role}"]')
        assert found.count() == 1, f"{found.count()} maps {role!r}"
        return found

    def choose(self, what, value):
        """Choose an image, a channel or a filter from its list."""
        self.page.locator(f'select[data-choose="{what}"]').select_option(str(value))

    def click(self, role, row, column, shape, pad=(0, 0)):
        """Click a cell with the mouse, on a map of `shape` cells with rows and columns of padding around them."""
        canvas = self.map(role).locator("canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        across = box["width"] / (shape[1] + 2 * pad[1])
        down = box["height"] / (shape[0] + 2 * pad[0])
        self.page.mouse.click(box["x"] + (column + pad[1] + 0.5) * across, box["y"] + (row + pad[0] + 0.5) * down)

    def pick_by_keyboard(self, role, row, column, shape):
        """Go to a cell with the arrow keys, and pick it with Enter."""
        self.map(role).locator(".map-frame").focus()
        keys = ["Home", *["ArrowUp"] * shape[0], *["ArrowDown"] * row, *["ArrowRight"] * column, "Enter"]
        for key in keys:
            self.page.keyboard.press(key)

    # What a reader sees

    def readout(self, role):
        """(text, number) below a map."""
        output = self.map(role).locator("output")
        return output.inner_text(), float(output.locator("[data-value]").get_attribute("data-value"))

    def values(self, selector):
        """The exact numbers of all elements that the selector finds, closed parts of the page included."""
        return self.page.locator(f"#view {selector}").evaluate_all("all => all.map(e => Number(e.dataset.value))")

    def value(self, selector):
        found = self.values(selector)
        assert len(found) == 1, f"{len(found)} elements {selector!r}"
        return found[0]

    def array_value(self, sum_name):
        """The framework's number that stands below the sum called so."""
        found = self.values(f'.result:has([data-result="{sum_name}"]) [data-array]')
        assert len(found) == 1, f"{len(found)} numbers of the framework at {sum_name!r}"
        return found[0]

    # What the page's functions give

    def numbers(self, expression):
        """A decoded array of the page, {shape, kept, values}."""
        found = self.page.evaluate(f"({NUMBERS})({expression})")
        shape = tuple(found["shape"])
        values = np.frombuffer(base64.b64decode(found["data"])).reshape([len(kept) for kept in found["kept"]])
        return shape, found["kept"], values

    def sums(self, name, script, *arguments):
        """What `script` makes of the sums of a layer; its arguments are called a, b, …"""
        letters = "abcdef"[: len(arguments)]
        return self.page.evaluate(
            f"([name, {', '.join(letters)}]) => {{ const sums = MINICNN.layerSums(name); const {{range}} = MINICNN; "
            f"return {script}; }}",
            [name, *arguments],
        )


def close(found, expected, largest=None):
    """Whether sums are the framework's, but for rounding."""
    expected = np.asarray(expected)
    largest = np.abs(expected).max() if largest is None else largest
    tolerance = 1e-5 if expected.dtype == np.float32 else 1e-10
    found = np.asarray(found, np.float64)
    return found.shape == expected.shape and np.abs(found - expected).max() <= tolerance * largest


def check_arrays(inspector):
    """Every number of every array in the page is the framework's, bit by bit."""

    def check(expression, array):
        shape, kept, values = inspector.numbers(expression)
        assert shape == array.shape, expression
        assert np.array_equal(values, array[np.ix_(*kept)]), expression

    layers = list(inspector.step.layers.items())
    for k, (_, at) in enumerate(layers):
        check(f"MINICNN.tensors[{k}].value", at.x)
        check(f"MINICNN.tensors[{k}].gradient", at.dx)
    check(f"MINICNN.tensors[{len(layers)}].value", layers[-1][1].y)
    check(f"MINICNN.tensors[{len(layers)}].gradient", layers[-1][1].dy)
    for name, at in layers:
        for key, param in at.layer.params.items():
            check(f"MINICNN.byName.get('{name}').params.{key}", param)
            check(f"MINICNN.byName.get('{name}').grads.{key}", at.layer.grads[key])


def check_texts(inspector):
    """What stands in letters is the exact number beside it, with 6 digits."""
    found = inspector.page.locator("#view :is(.num, mn)[title]").evaluate_all(
        "all => all.map(e => [e.textContent, e.getAttribute('title')])"
    )
    assert found
    for text, exact in found:
        shown, exact = float(text.replace("−", "-")), float(exact)
        assert abs(shown - exact) <= 5.001e-6 * abs(exact), (text, exact)


def check_agreement(inspector):
    """The page itself finds none of the sums that it now shows different from the framework's number."""
    judged = inspector.page.locator("#view [data-agrees]").evaluate_all("all => all.map(e => e.dataset.agrees)")
    assert set(judged) <= {"true"}


# Convolution


def arriving(at, n, c, r, s):
    """{(f, i, j, p, q): weight * dy} of all products that make dx[n, c, r, s]."""
    layer, (_, filters, height, width) = at.layer, at.dy.shape
    (stride_h, stride_w), (pad_h, pad_w) = layer.stride, layer.padding
    weight = layer.params["weight"]
    return {
        (f, i, j, p, q): float(weight[f, c, i, j]) * float(at.dy[n, f, p, q])
        for f in range(filters)
        for p in range(height)
        for q in range(width)
        for i in range(layer.kernel_size[0])
        for j in range(layer.kernel_size[1])
        if p * stride_h - pad_h + i == r and q * stride_w - pad_w + j == s
    }


def seen(at, p, q):
    """{(i, j): (r, s)} of the cells of x that an output saw."""
    layer, (height, width) = at.layer, at.x.shape[2:]
    cells = {
        (i, j): (p * layer.stride[0] - layer.padding[0] + i, q * layer.stride[1] - layer.padding[1] + j)
        for i in range(layer.kernel_size[0])
        for j in range(layer.kernel_size[1])
    }
    return {tap: (r, s) for tap, (r, s) in cells.items() if 0 <= r < height and 0 <= s < width}


def check_scatter_and_correlation(inspector, name, n, c):
    """Every cell of a channel of dx, by both ways."""
    at = inspector.step.layers[name]
    for way in ("scatter", "correlation"):
        found = inspector.sums(
            name, f"range(c).map((r) => range(d).map((s) => sums.{way}(a, b, r, s).sum))", n, c, *at.x.shape[2:]
        )
        assert close(found, at.dx[n, c], np.abs(at.dx).max()), f"{way} of channel {c} of {name}"


def check_weight_gradients(inspector, name, filters, channels):
    """All weights of these filters and channels, and the filters' biases."""
    at = inspector.step.layers[name]
    kernel, grads = at.layer.kernel_size, at.layer.grads
    found = inspector.sums(
        name,
        "a.map((f) => b.map((h) => range(c).map((i) => range(d).map((j) => sums.weightGradient(f, h, i, j).sum))))",
        filters,
        channels,
        *kernel,
    )
    assert close(found, grads["weight"][np.ix_(filters, channels)], np.abs(grads["weight"]).max())
    found = inspector.sums(name, "a.map((f) => sums.biasGradient(f).sum)", filters)
    assert close(found, grads["bias"][filters], max(np.abs(grads["bias"]).max(), np.abs(at.dy).max()))


def check_sent(inspector, name, n, c, f, p, q, by="mouse"):
    """Click a cell of dy: its number, and the messages to pixels and weights."""
    at = inspector.step.layers[name]
    shape, weight = at.dy.shape[2:], at.layer.params["weight"]
    if by == "mouse":
        inspector.click("dy", p, q, shape)
    else:
        inspector.pick_by_keyboard("dy", p, q, shape)
    text, number = inspector.readout("dy")
    assert text.startswith(f"dy[{n}, {f}, {p}, {q}] = ")
    assert number == at.dy[n, f, p, q]
    cells = seen(at, p, q)
    dy = float(at.dy[n, f, p, q])
    assert inspector.values('[data-product="dx"]') == [dy * float(weight[f, c, i, j]) for i, j in cells]
    everywhere = np.ndindex(at.layer.kernel_size)
    assert inspector.values('[data-product="dweight"]') == [
        dy * float(at.x[(n, c, *cells[tap])]) if tap in cells else 0 for tap in everywhere
    ]


def check_arrives(inspector, name, n, c, r, s):
    """Click a cell of dx: the sum by both ways, its products, and the framework's number."""
    at = inspector.step.layers[name]
    inspector.click("dx", r, s, at.x.shape[2:], at.layer.padding)
    largest, expected = np.abs(at.dx).max(), arriving(at, n, c, r, s)
    assert inspector.array_value("scatter") == at.dx[n, c, r, s]
    for way in ("scatter", "correlation"):
        inspector.page.locator(f'[data-choose="way"] input[value="{way}"]').check()
        assert close(inspector.value(f'[data-result="{way}"]'), at.dx[n, c, r, s], largest)
        assert int(inspector.page.locator(f'#view [data-result="{way}"]').get_attribute("data-missing")) == 0
        products = inspector.values("tr[data-product]")
        filled = inspector.page.locator('.panel .formula[aria-label="filled in"] mn[title]')
        *factors, total = filled.evaluate_all("all => all.map(e => Number(e.getAttribute('title')))")
        assert total == inspector.value(f'[data-result="{way}"]')
        pairs = zip(factors[::2], factors[1::2], strict=True)
        assert [weight * dy for weight, dy in pairs] == products[:4]
        if way == "scatter":
            assert sorted(products) == sorted(expected.values())
        else:  # the put-in zeros are products too
            assert len(products) == at.dy.shape[1] * np.prod(at.layer.kernel_size)
            nonzero = [product for product in expected.values() if product]
            assert sorted(product for product in products if product) == sorted(nonzero)
    inspector.page.locator('[data-choose="way"] input[value="scatter"]').check()


def check_weight(inspector, name, f, c, i, j):
    """Click a weight: its gradient as a sum."""
    at = inspector.step.layers[name]
    inspector.click("weight", i, j, at.layer.kernel_size)
    gradient = at.layer.grads["weight"]
    assert inspector.readout("dweight")[1] == gradient[f, c, i, j]
    assert inspector.readout("weight")[1] == at.layer.params["weight"][f, c, i, j]
    assert inspector.array_value("weight") == gradient[f, c, i, j]
    assert close(inspector.value('[data-result="weight"]'), gradient[f, c, i, j], np.abs(gradient).max())
    assert inspector.array_value("bias") == at.layer.grads["bias"][f]


def check_forward(inspector, name, n, f, p, q):
    """Click a cell of y: the forward sum."""
    at = inspector.step.layers[name]
    inspector.click("y", p, q, at.y.shape[2:])
    assert inspector.array_value("forward") == at.y[n, f, p, q]
    assert close(inspector.value('[data-result="forward"]'), at.y[n, f, p, q], np.abs(at.y).max())
    assert len(inspector.values("tr[data-product]")) == at.x.shape[1] * len(seen(at, p, q))


# Batch normalisation


def paths_of(at):
    """{path: its part of dx}, in float64, from the formula of the docstring of `BatchNorm2d`."""
    axes = (0, 2, 3)
    x, dy = at.x.astype(np.float64), at.dy.astype(np.float64)
    weight = at.layer.params["weight"].astype(np.float64)[:, None, None]
    spread = np.sqrt(x.var(axis=axes, keepdims=True) + at.layer.eps)
    x_hat = (x - x.mean(axis=axes, keepdims=True)) / spread
    a = weight / spread
    return {
        "direct": a * dy,
        "mean": -a * np.broadcast_to(dy.mean(axis=axes, keepdims=True), x.shape),
        "variance": -a * x_hat * (dy * x_hat).mean(axis=axes, keepdims=True),
    }


def check_paths(inspector, name, n, c):
    """Every cell of a channel: the three paths are those of the formula, and they sum to dx."""
    at = inspector.step.layers[name]
    found = inspector.sums(
        name,
        "range(c).map((r) => range(d).map((s) => { const {terms, sum} = sums.input(a, b, r, s); "
        "return [sum, Object.fromEntries(terms.map((term) => [term.path, term.product]))]; }))",
        n,
        c,
        *at.x.shape[2:],
    )
    expected = paths_of(at)
    largest = max(np.abs(path).max() for path in expected.values())
    for path, array in expected.items():
        parts = [[cell[1].get(path, np.nan) for cell in row] for row in found]
        assert close(parts, array[n, c].astype(at.dx.dtype), largest), f"the {path} path"
    assert close([[cell[0] for cell in row] for row in found], at.dx[n, c], largest)


def check_path_cell(inspector, name, n, c, r, s):
    """Click a cell of dx: the three paths, their sum, and what evaluation would give."""
    at = inspector.step.layers[name]
    inspector.click("dx", r, s, at.x.shape[2:])
    expected = paths_of(at)
    largest = max(np.abs(path).max() for path in expected.values())
    parts = {path: inspector.value(f'dd [data-product="{path}"]') for path in expected}
    for path, array in expected.items():
        assert close(parts[path], array.astype(at.dx.dtype)[n, c, r, s], largest)
        assert inspector.readout(f"path-{path}")[1] == parts[path]
    assert inspector.value('[data-result="paths"]') == sum(parts.values())
    assert close(inspector.value('[data-result="paths"]'), at.dx[n, c, r, s], largest)
    assert inspector.array_value("paths") == at.dx[n, c, r, s] == inspector.readout("dx")[1]
    layer, running = at.layer, at.state_before
    a = layer.params["weight"] / np.sqrt(running["running_var"].astype(np.float64) + layer.eps)
    evaluated = (a[c] * at.dy[n, c, r, s]).astype(at.dx.dtype)
    assert close(inspector.array_value("evaluation"), evaluated, largest)
    assert close(inspector.value('[data-result="evaluation"]'), evaluated, largest)


# Pooling


def windows_of(at):
    """The windows of both axes as (start, stop) by `geometry`."""
    layer, tables = at.layer, []
    for axis, size in enumerate(at.x.shape[2:]):
        if hasattr(layer, "kernel_size"):
            table = geometry.fixed_windows(size, layer.kernel_size[axis], layer.stride[axis], layer.padding[axis])
        else:
            table = geometry.adaptive_windows(size, at.y.shape[2 + axis])
        tables.append(table)
    return tables


def drawn_bars(inspector, strip):
    """The windows of a strip, one axis, as they are drawn: [(start, stop)] in cells, from pixels."""
    found = strip.evaluate(
        """(strip) => {
            const first = strip.querySelector(".strip-cell").getBoundingClientRect();
            const cells = [...strip.querySelectorAll(".strip-cell")].map((cell) => cell.getBoundingClientRect());
            const middles = cells.map((box) => (box.left + box.right) / 2);
            return [...strip.querySelectorAll("[data-window]")].map((bar) => {
                const box = bar.getBoundingClientRect();
                const inside = middles.map((at, cell) => [at, cell]).filter(([at]) => box.left < at && at < box.right);
                return [Number(bar.dataset.window), inside[0][1], inside.at(-1)[1] + 1,
                    Number(bar.dataset.start), Number(bar.dataset.stop)];
            });
        }"""
    )
    assert [window for window, *_ in found] == list(range(len(found)))
    assert all(drawn[:2] == drawn[2:] for _, *drawn in found), "a bar is not drawn where it says"
    return [(start, stop) for _, start, stop, *_ in found]


def drawn_windows(inspector, role):
    """The outlines of all windows on a map, {(top, bottom, left, right)} in cells, from the drawing."""
    found = inspector.map(role).evaluate(
        """(figure) => [...figure.querySelectorAll("svg.marks rect.mark-thin.line")].map((rect) =>
            ["y", "height", "x", "width"].map((name) => rect.getAttribute(name) / figure.dataset.cell))"""
    )
    # Every second window is drawn a little smaller, so what it encloses is what counts.
    return {
        (int(np.floor(y)), int(np.ceil(y + high)), int(np.floor(x)), int(np.ceil(x + wide)))
        for y, high, x, wide in found
    }


def check_windows(inspector, name):
    """The windows in the record, on the map and in the strips are those of `geometry`."""
    at = inspector.step.layers[name]
    rows, columns = windows_of(at)
    extra = inspector.page.evaluate("(name) => MINICNN.byName.get(name).extra", name)
    assert extra["rows"] == rows.tolist()
    assert extra["columns"] == columns.tolist()
    for role in ("x", "dx"):
        assert drawn_windows(inspector, role) == {
            (top, bottom, left, right) for top, bottom, _ in rows.tolist() for left, right, _ in columns.tolist()
        }
    strips = inspector.page.locator(".panel .strip-grid")
    assert strips.count() == 2
    for strip, table in zip(strips.all(), (rows, columns), strict=True):
        assert drawn_bars(inspector, strip) == [(start, stop) for start, stop, _ in table.tolist()]


def check_playground(inspector, n_in, n_out):
    """Type two sizes: the windows that the page works out and draws are those of `geometry`."""
    expected = geometry.adaptive_windows(n_in, n_out).tolist()
    assert inspector.page.evaluate("([a, b]) => MINICNN.adaptiveWindows(a, b)", [n_in, n_out]) == expected
    playground = inspector.page.locator("[data-playground]")
    playground.locator('[data-size="in"]').fill(str(n_in))
    playground.locator('[data-size="out"]').fill(str(n_out))
    drawn = drawn_bars(inspector, playground.locator(".strip-grid"))
    assert drawn == [(start, stop) for start, stop, _ in expected]


def check_payments(inspector, name, n, c):
    """Every cell of a channel of dx: what the windows pay."""
    at = inspector.step.layers[name]
    found = inspector.sums(
        name, "range(c).map((r) => range(d).map((s) => sums.input(a, b, r, s).sum))", n, c, *at.x.shape[2:]
    )
    assert close(found, at.dx[n, c], np.abs(at.dx).max())


def check_pooled_cell(inspector, name, n, c, r, s):
    """Click a cell of dx: the windows that hold it, and what they pay."""
    at = inspector.step.layers[name]
    rows, columns = windows_of(at)
    inspector.click("dx", r, s, at.x.shape[2:])
    assert inspector.array_value("windows") == at.dx[n, c, r, s] == inspector.readout("dx")[1]
    assert close(inspector.value('[data-result="windows"]'), at.dx[n, c, r, s], np.abs(at.dx).max())
    holding = [
        (p, q)
        for p, (top, bottom, _) in enumerate(rows)
        for q, (left, right, _) in enumerate(columns)
        if top <= r < bottom and left <= s < right
    ]
    assert len(inspector.values("tr[data-product]")) == len(holding)


def winner_of(at, n, c, p, q):
    """The first of the largest cells of a window."""
    (top, bottom, _), (left, right, _) = (table[index] for table, index in zip(windows_of(at), (p, q), strict=True))
    window = at.x[n, c, top:bottom, left:right]
    row, column = np.unravel_index(window.argmax(), window.shape)
    return int(top + row), int(left + column)


def check_winner(inspector, name, n, c, p, q):
    """Click a cell of y: the winner is told, and the winners of all windows are ringed on x."""
    at = inspector.step.layers[name]
    inspector.click("y", p, q, at.y.shape[2:])
    rings = inspector.map("x").evaluate(
        """(figure) => [...figure.querySelectorAll("svg.marks circle.mark-winner.line")].map((ring) =>
            ["cy", "cx"].map((name) => Math.floor(Number(ring.getAttribute(name)) / Number(figure.dataset.cell))))"""
    )
    assert set(map(tuple, rings)) == {winner_of(at, n, c, *output) for output in np.ndindex(at.y.shape[2:])}
    r, s = winner_of(at, n, c, p, q)
    assert f"row {r}, column {s}" in inspector.page.locator(".panel .asked").inner_text()
    assert inspector.value(".panel .asked .num") == at.x[n, c, r, s] == at.y[n, c, p, q]


# The small layers, the linear layer and the loss


def check_cells(inspector, name, n, way, cells):
    """Click cells of dx of a layer that treats each cell alone: (index without the image, row, column on the map)."""
    at = inspector.step.layers[name]
    shape = at.x.shape[2:] if at.x.ndim == 4 else (1, at.x.shape[1])
    for index, row, column in cells:
        inspector.click("dx", row, column, shape)
        assert inspector.readout("dx")[1] == at.dx[(n, *index)] == inspector.array_value(way)
        assert close(inspector.value(f'[data-result="{way}"]'), at.dx[(n, *index)], np.abs(at.dx).max())


def check_linear(inspector, name, n):
    """All of dweight, dx, dbias and y by the page's sums, and one cell of each by a click."""
    at = inspector.step.layers[name]
    grads, (outputs, inputs) = at.layer.grads, at.layer.params["weight"].shape
    for script, expected in (
        ("range(b).map((k) => range(c).map((d) => sums.weightGradient(k, d).sum))", grads["weight"]),
        ("range(c).map((d) => sums.input(a, d).sum)", at.dx[n]),
        ("range(b).map((k) => sums.biasGradient(k).sum)", grads["bias"]),
        ("range(b).map((k) => sums.forward(a, k).sum)", at.y[n]),
    ):
        assert close(inspector.sums(name, script, n, outputs, inputs), expected), script
    k, d = outputs - 1, 2
    block = min(inputs, 32)  # so many inputs are on the maps at a time
    for role, place, shape, way, stored in (
        ("dweight", (k, d), (outputs, block), "weight", grads["weight"][k, d]),
        ("dx", (0, d), (1, block), "input", at.dx[n, d]),
        ("dy", (k, 0), (outputs, 1), "bias", grads["bias"][k]),
        ("y", (k, 0), (outputs, 1), "forward", at.y[n, k]),
    ):
        inspector.click(role, *place, shape)
        assert inspector.array_value(way) == stored
        assert close(inspector.value(f'[data-result="{way}"]'), stored, max(abs(stored), 1e-3))


def check_loss(inspector, n, labels):
    """The loss, and the gradient of each class's score as (p - onehot) / N."""
    at = list(inspector.step.layers.values())[-1]
    ends_in_log_softmax = type(at.layer) is LogSoftmax
    scores, gradient = (at.x, at.dx) if ends_in_log_softmax else (at.y, at.dy)
    assert inspector.array_value("nll") == inspector.step.loss
    assert close(inspector.value('[data-result="nll"]'), scores.dtype.type(inspector.step.loss))
    p = np.exp(scores.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    expected = ((p - np.eye(p.shape[1])[labels]) / len(p)).astype(scores.dtype)
    for k in range(p.shape[1]):
        inspector.page.locator(f'[data-class="{k}"]').click()
        assert inspector.array_value("loss") == gradient[n, k]
        assert close(inspector.value('[data-result="loss"]'), expected[n, k], 1)
