/* One cell of a convolution's dy: the messages it sends, to the pixels and to the weights. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, formula } = M.formulas;
  const MARGIN = 2; // cells that a question's patch shows around the window

  function convScatter({ layer, sums, revealing, chosen: { n, c, f } }, [p, q]) {
    const { x, dy, extra, params } = layer;
    const [kernelH, kernelW] = extra.kernel_size;
    const from = dy.get(n, f, p, q);
    const messages = sums.contributions(n, f, p, q, c);
    const inside = messages.filter(({ cell }) => cell);
    const outside = messages.length - inside.length;
    const window = M.convWindow(layer, p, q);
    const kernel = { rows: [0, kernelH], columns: [0, kernelW], kind: "window" };
    const all = 2 * kernelH * kernelW * params.weight.shape[1];

    const messageTables = () => h("div", {}, toPixels(), toWeights());
    const description = () => M.asked(oneMessage(), messageTables);

    /** One product to work out, the largest of them. */
    function oneMessage() {
      const { i, j, cell, weight, to_x } = d3.greatest(inside, (message) => Math.abs(message.to_x));
      return {
        ask:
          `The weight at tap (${i}, ${j}) is ${number(weight)}. What does this cell of dy send through it to the ` +
          `pixel at row ${cell.r}, column ${cell.s}?`,
        answer: to_x,
        why: `It is dy times the weight: ${number(from)} · ${number(weight)}.`,
      };
    }

    function toPixels() {
      return h(
        "section",
        {},
        h("h3", {}, "To the pixels: dy · weight"),
        formula(
          "what the pixels hear",
          indexed("dx", "n", "c", "r", "s"),
          "+=",
          indexed("weight", "f", "c", "i", "j"),
          "·",
          indexed("dy", "n", "f", "p", "q"),
        ),
        h(
          "p",
          { class: "aside" },
          `with row r = ${rule("p", extra.stride[0], "i", extra.padding[0])} and column s = ` +
            `${rule("q", extra.stride[1], "j", extra.padding[1])}`,
        ),
        messageMap("message-x", "to dx", ({ cell, to_x }) => (cell ? to_x : undefined)),
        outside ? h("p", {}, `${outside} of the messages fall on the padding and are nobody's gradient.`) : null,
        table("Messages to the pixels", ["pixel r, s", "weight", "to dx"], ({ cell, weight, to_x }) => [
          cell ? `${cell.r}, ${cell.s}` : "padding",
          M.num(weight),
          cell ? M.num(to_x, { "data-product": "dx" }) : "nobody's",
        ]),
      );
    }

    function toWeights() {
      return h(
        "section",
        {},
        h("h3", {}, "To the weights: dy · x"),
        formula(
          "what the weights hear",
          indexed("dweight", "f", "c", "i", "j"),
          "+=",
          indexed("dy", "n", "f", "p", "q"),
          "·",
          indexed("x", "n", "c", "r", "s"),
        ),
        messageMap("message-weight", "to dweight", ({ to_weight }) => to_weight),
        table("Messages to the weights", ["pixel r, s", "x", "to dweight"], ({ cell, x: pixel, to_weight }) => [
          cell ? `${cell.r}, ${cell.s}` : "padding",
          M.num(pixel),
          M.num(to_weight, { "data-product": "dweight" }),
        ]),
      );
    }

    function messageMap(role, name, of) {
      const values = messages.map(of);
      return M.map({
        role,
        name,
        about: `by way of channel ${c}`,
        scale: M.scale(
          "gradient",
          d3.max(values, (value) => Math.abs(value ?? 0)),
        ),
        plane: M.planes.made(kernelH, kernelW, (i, j) => values[i * kernelW + j]),
      }).element;
    }

    const table = (caption, head, of) =>
      M.table({
        caption,
        head: ["tap i, j", ...head],
        rows: messages.map((message) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, `${message.i}, ${message.j}`),
            of(message).map((value) => h("td", {}, value)),
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
        `dy at row ${p}, column ${q} is ${number(from)}; it sends ${inside.length} messages to the ` +
        `pixels of channel ${c} and ${messages.length} to the weights.`,
      content: [
        h("h2", {}, "What one cell of dy sends"),
        formula("the chosen cell", indexed("dy", n, f, p, q), "=", figure(from, true)),
        h(
          "p",
          {},
          "By so much the loss changes for each unit that this output rises. The output came from a window of " +
            `${kernelH} × ${kernelW} cells${x.shape[1] > 1 ? ` in each of ${x.shape[1]} channels` : ""}. Each ` +
            `product in it sends two messages, ${M.count(all)} in all; here are those of channel ${c}. Every other ` +
            "cell of dy does the same, and what arrives is added up.",
        ),
        // A window that lies in the padding alone sends nothing to any pixel: there is nothing to ask.
        inside.length ? M.asked(heard(x.shape, window, p, q), revealing(description)) : messageTables(),
      ],
    };
  }

  /** "2·p + i − 1", without what changes nothing. */
  const rule = (output, stride, tap, padding) =>
    `${stride > 1 ? `${stride}·` : ""}${output} + ${tap}${padding ? ` − ${padding}` : ""}`;

  /** Which pixels hear of this cell? Asked about the window and a margin around it. */
  function heard([, , height, width], { rows: [top, bottom], columns: [left, right] }, p, q) {
    return M.patch({
      ask:
        `Suppose dy were 0 but for this one cell, row ${p}, column ${q}. Which cells of dx would not be 0? Click ` +
        "them.",
      why:
        `The output at row ${p}, column ${q} saw the rows ${Math.max(top, 0)} to ${Math.min(bottom, height) - 1} ` +
        `and the columns ${Math.max(left, 0)} to ${Math.min(right, width) - 1} and nothing else; only they have ` +
        "a share in it.",
      rows: [top - MARGIN, bottom + MARGIN],
      columns: [left - MARGIN, right + MARGIN],
      size: [height, width],
      truth: (r, s) => r >= top && r < bottom && s >= left && s < right,
    });
  }

  /** The window of x that output (p, q) looks at, as true rows and columns; it may reach into the padding. */
  function convWindow({ extra }, p, q) {
    const [top, left] = [p * extra.stride[0] - extra.padding[0], q * extra.stride[1] - extra.padding[1]];
    return { rows: [top, top + extra.kernel_size[0]], columns: [left, left + extra.kernel_size[1]], kind: "window" };
  }

  Object.assign(M, { convScatter, convWindow });
})();
