/* The views of ReLU, Flatten and LogSoftmax: each cell of the input belongs to one cell of the output. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, letter } = M.formulas;
  const PATCH = 6; // rows and columns of a question
  function reluView(layer) {
    const sums = M.sumsOf(layer);
    const story =
      "What is positive passes, what is not becomes 0. In backward dy passes at the same places and is stopped at " +
      "the others, so all that has to be kept is which places were open: the mask y > 0.";

    const mask = (n, c, onpick) => {
      const plane = M.planeOf(layer.y, n, c);
      const open = (row, column) => (plane.index(row, column) ? Number(plane.get(row, column) > 0) : undefined);
      return [
        M.map({
          role: "mask",
          name: "mask",
          about: "1 where y > 0",
          onpick,
          plane: { ...plane, get: open },
          scale: M.scale("weight", 1),
        }),
      ];
    };

    function tell(index, maps) {
      const [value, from, inArray] = [layer.y.get(...index), layer.dy.get(...index), layer.dx.get(...index)];
      const result = sums.input(...index);
      const open = value > 0;
      maps.dx.hide(M.state.asking);
      const told = () => {
        maps.dx.hide(false);
        return h(
          "div",
          {},
          formula(
            "dx at the chosen cell",
            indexed("dx", ...index),
            "=",
            open ? indexed("dy", ...index) : "0",
            "=",
            figure(result.sum, true),
          ),
          M.result({
            name: `dx[${index.join(", ")}]`,
            inArray,
            sums: [{ way: "mask", label: open ? "y > 0: dy passes" : "y is 0: nothing passes", result }],
          }),
        );
      };
      return {
        said: `x is ${number(layer.x.get(...index))}, so y is ${number(value)} and dx is ${number(inArray)}.`,
        content: [
          h("h2", {}, "One cell"),
          formula(
            "forward at the chosen cell",
            indexed("y", ...index),
            "=",
            letter("max"),
            "(",
            figure(layer.x.get(...index), true),
            ",",
            "0",
            ")",
            "=",
            figure(value, true),
          ),
          h("p", {}, "Here dy is ", M.num(from), "."),
          layer.dead > 0
            ? h(
                "p",
                {},
                `${M.percent(layer.dead)} of the channels are dead: 0 in every cell of every image. Nothing ` +
                  "passes back through them, so what comes before cannot learn from this batch to wake them.",
              )
            : null,
          M.asked(reluPatch(index, maps.dx.plane), told),
        ],
      };
    }

    function reluPatch(index, plane) {
      const at = plane.find(index);
      const from = (centre, size) => Math.max(0, Math.min(centre - PATCH / 2, size - PATCH));
      const [top, left] = [from(at.row, plane.rows), from(at.column, plane.columns)];
      const [rows, columns] = [Math.min(PATCH, plane.rows), Math.min(PATCH, plane.columns)];
      const name = (row, column) => `cell ${(plane.index(top + row, left + column) ?? []).slice(1).join(", ")}`;
      return {
        ask:
          "Which of these cells of dx are not 0? Look at y and dy. They are those around the chosen cell, from " +
          `${name(0, 0)} to ${name(rows - 1, columns - 1)}.`,
        why: "Those where y is positive and dy is not 0.",
        rows,
        columns,
        name,
        truth: (row, column) =>
          Boolean(plane.index(top + row, left + column) && plane.get(top + row, left + column) !== 0),
      };
    }

    return M.cellwise(layer, story, { tell, between: mask });
  }

  function flattenView(layer) {
    const { place, origin } = M.sumsOf(layer);
    const story =
      "Nothing is computed: the same numbers are read in another shape. Backward gives dy the old shape back.";
    const sizes = layer.x.shape.slice(1);

    function tell(index) {
      const d = place(index);
      const inArray = layer.dx.get(...index);
      return {
        said: `The cell ${index.join(", ")} of x is number ${d} of y.`,
        content: [
          h("h2", {}, "Where a cell goes"),
          M.asked(
            {
              ask:
                `The image has the shape ${sizes.join(" × ")} and is read row by row, channel by channel. At ` +
                `which place d of y does the cell (${index.slice(1).join(", ")}) stand?`,
              answer: d,
              whole: true,
              why: `Before it stand the ${d} cells that come earlier in reading order.`,
            },
            () =>
              h(
                "div",
                {},
                formula("the place in the vector", letter("d"), "=", placeFormula(index.slice(1)), "=", String(d)),
                formula(
                  "the gradient",
                  indexed("dx", ...index),
                  "=",
                  indexed("dy", index[0], d),
                  "=",
                  figure(inArray, true),
                ),
                M.result({
                  name: `dx[${index.join(", ")}]`,
                  inArray,
                  sums: [
                    {
                      way: "place",
                      label: `dy[${index[0]}, ${d}]`,
                      result: M.added([{ product: layer.dy.get(index[0], d) }]),
                    },
                  ],
                }),
              ),
          ),
        ],
      };
    }

    /** "2 · 6 + 1 · 3 + 0": each index times the number of cells that one step of it passes over. */
    const placeFormula = (index) =>
      index
        .map((i, axis) => {
          const step = sizes.slice(axis + 1).reduce((product, size) => product * size, 1);
          return `${axis ? " + " : ""}${i}${step > 1 ? ` · ${step}` : ""}`;
        })
        .join("");

    return M.cellwise(layer, story, {
      tell,
      toOutput: (index) => [index[0], place(index)],
      toInput: ([n, d]) => [n, ...origin(d)],
    });
  }

  function logSoftmaxView(layer) {
    const sums = M.sumsOf(layer);
    const story =
      "Scores become log-probabilities: from each score the same number is taken, the log of the sum of all exp(x). " +
      "A score reaches every output through that sum, so each dx hears of all dy.";

    function tell([n, k]) {
      const result = sums.input(n, k);
      const inArray = layer.dx.get(n, k);
      const rows = layer.y.kept(1).map((other) =>
        h(
          "tr",
          { class: other === k ? "chosen" : null },
          h("th", { scope: "row" }, M.className(other)),
          [
            layer.x.get(n, other),
            layer.y.get(n, other),
            Math.exp(layer.y.get(n, other)),
            layer.dy.get(n, other),
            layer.dx.get(n, other),
          ].map((value, column) => h("td", {}, M.state.asking && column === 4 ? "?" : M.num(value))),
        ),
      );
      return {
        said: `dx of class ${k} is ${number(inArray)}.`,
        content: [
          h("h2", {}, `Class ${M.className(k)}`),
          formula(
            "log-softmax backward",
            indexed("dx", "n", "k"),
            "=",
            indexed("dy", "n", "k"),
            "−",
            indexed("p", "n", "k"),
            "·",
            sum("all classes"),
            indexed("dy", "n", "m"),
          ),
          h(
            "p",
            { class: "aside" },
            `with p = exp(y), here ${number(result.p)}; the sum of dy is ${number(result.sum_dy)}`,
          ),
          M.table({ caption: `Image ${n}, class by class`, head: ["class", "x", "y", "p = exp(y)", "dy", "dx"], rows }),
          M.asked(
            { ask: `What is dx for class ${M.className(k)}?`, answer: inArray, why: "It is dy − p · (sum of dy)." },
            () =>
              h(
                "div",
                {},
                formula(
                  "filled in",
                  indexed("dx", n, k),
                  "=",
                  figure(layer.dy.get(n, k), true),
                  "−",
                  figure(result.p),
                  "·",
                  figure(result.sum_dy),
                  "=",
                  figure(result.sum, true),
                ),
                M.result({
                  name: `dx[${n}, ${k}]`,
                  inArray,
                  sums: [{ way: "logsoftmax", label: "dy − p · (sum of dy)", result }],
                }),
              ),
          ),
        ],
      };
    }
    return M.cellwise(layer, story, { tell });
  }

  Object.assign(M, { reluView, flattenView, logSoftmaxView });
})();
