/* One cell of a convolution's dy: the messages it sends, to the pixels and to the weights. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, formula } = M.formulas;
  const MARGIN = 2; // cells that a question's patch shows around the window

  function convSent({ layer, sums, chosen: { n, c, f } }, [p, q]) {
    const { x, dy, extra, params } = layer;
    const [kernelH, kernelW] = extra.kernel_size;
    const from = dy.get(n, f, p, q);
    const messages = sums.sent(n, f, p, q, c);
    const outside = messages.filter((message) => !message.cell).length;
    const window = M.convWindow(layer, p, q);
    const kernel = { rows: [0, kernelH], columns: [0, kernelW], kind: "window" };

    const told = () =>
      h(
        "div",
        {},
        h(
          "div",
          { class: "small-maps" },
          messageMap("message-x", "to dx", "dy · weight", (message) => (message.cell ? message.to_x : undefined)),
          messageMap("message-weight", "to dweight", "dy · x", (message) => message.to_weight),
        ),
        outside
          ? h(
              "p",
              {},
              `${outside} of the messages to dx fall on the padding and are nobody's gradient. The pixel there ` +
                "was a 0, so the weight hears 0 as well.",
            )
          : null,
        formula(
          "what the pixels hear",
          indexed("dx", "n", "c", "r", "s"),
          "+=",
          indexed("weight", "f", "c", "i", "j"),
          "·",
          indexed("dy", "n", "f", "p", "q"),
        ),
        formula(
          "what the weights hear",
          indexed("dweight", "f", "c", "i", "j"),
          "+=",
          indexed("dy", "n", "f", "p", "q"),
          "·",
          indexed("x", "n", "c", "r", "s"),
        ),
        h(
          "p",
          { class: "aside" },
          `with row r = ${rule("p", extra.stride[0], "i", extra.padding[0])} and column s = ` +
            `${rule("q", extra.stride[1], "j", extra.padding[1])}; every cell of every filter does the same, and what arrives ` +
            "is added up.",
        ),
        messageTable(),
      );

    function messageMap(role, name, about, of) {
      const values = messages.map(of);
      return M.map({
        role,
        name,
        about,
        scale: M.scale(
          "gradient",
          d3.max(values, (value) => Math.abs(value ?? 0)),
        ),
        plane: M.planes.made(kernelH, kernelW, (i, j) => values[i * kernelW + j]),
      }).element;
    }

    const messageTable = () =>
      M.table({
        caption: `The ${messages.length} messages by way of channel ${c}`,
        head: ["tap i, j", "pixel r, s", "weight", "to dx", "x", "to dweight"],
        rows: messages.map(({ i, j, cell, weight, x: pixel, to_x, to_weight }) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, `${i}, ${j}`),
            h("td", {}, cell ? `${cell.r}, ${cell.s}` : "padding"),
            h("td", {}, M.num(weight)),
            h("td", { class: "product" }, cell ? M.num(to_x, { "data-product": "dx" }) : "nobody's"),
            h("td", {}, M.num(pixel)),
            h("td", { class: "product" }, M.num(to_weight, { "data-product": "dweight" })),
          ),
        ),
      });

    return {
      on: ["dy"],
      marks: {
        x: [window],
        dx: [window],
        weight: [kernel],
        dweight: [kernel],
        y: [{ rows: [p, p + 1], columns: [q, q + 1], kind: "window" }],
      },
      said:
        `dy at row ${p}, column ${q} is ${number(from)}; it sends ${messages.length - outside} messages to the pixels of ` +
        `channel ${c} and as many to the weights.`,
      content: [
        h("h2", {}, "What one cell of dy sends"),
        formula("the chosen cell", indexed("dy", n, f, p, q), "=", M.formulas.figure(from, true)),
        h(
          "p",
          {},
          `By so much the loss rises for each unit that this output rises. The output came from a window of ` +
            `${kernelH} × ${kernelW} cells in each of ${x.shape[1]} channel${x.shape[1] > 1 ? "s" : ""}; here is channel ${c}, ` +
            `and there are ${M.count(2 * kernelH * kernelW * params.weight.shape[1])} messages in all.`,
        ),
        M.asked(patch(x.shape, window, p, q), told),
      ],
    };
  }

  /** "2·p + i − 1", without what changes nothing. */
  const rule = (output, stride, tap, padding) =>
    `${stride > 1 ? `${stride}·` : ""}${output} + ${tap}${padding ? ` − ${padding}` : ""}`;

  /** Which pixels hear of this cell? Asked about the window and a margin around it. */
  function patch([, , height, width], window, p, q) {
    const cut = ([low, high], size, by) => [Math.max(low - by, 0), Math.min(high + by, size)];
    const [[top, bottom], [left, right]] = [cut(window.rows, height, 0), cut(window.columns, width, 0)];
    const [[r0, r1], [s0, s1]] = [cut(window.rows, height, MARGIN), cut(window.columns, width, MARGIN)];
    return {
      ask:
        `Suppose dy were 0 but for this one cell, row ${p}, column ${q}. Which cells of dx would not be 0? Click them; ` +
        `these are rows ${r0} to ${r1 - 1} and columns ${s0} to ${s1 - 1}.`,
      why:
        `The output at row ${p}, column ${q} saw the rows ${top} to ${bottom - 1} and columns ${left} to ${right - 1} and ` +
        "nothing else; only they have a share in it.",
      rows: r1 - r0,
      columns: s1 - s0,
      name: (row, column) => `row ${r0 + row}, column ${s0 + column}`,
      truth: (row, column) => {
        const [r, s] = [r0 + row, s0 + column];
        return r >= top && r < bottom && s >= left && s < right;
      },
    };
  }

  /** The window of x that output (p, q) looks at, as true rows and columns; it may reach into the padding. */
  function convWindow({ extra }, p, q) {
    const [top, left] = [p * extra.stride[0] - extra.padding[0], q * extra.stride[1] - extra.padding[1]];
    return { rows: [top, top + extra.kernel_size[0]], columns: [left, left + extra.kernel_size[1]], kind: "window" };
  }

  Object.assign(M, { convSent, convWindow });
})();
