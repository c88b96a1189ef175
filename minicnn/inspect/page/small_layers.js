/* The views of Flatten and LogSoftmax. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, letter } = M.formulas;

  function flattenView(layer) {
    const { place, origin } = M.sumsOf(layer);
    const story =
      "Nothing is computed: the same numbers are read in another shape. Backward gives dy the old shape back.";
    const sizes = layer.x.shape.slice(1);

    function describe(index, revealing) {
      const d = place(index);
      const inArray = layer.dx.get(...index);
      const description = () =>
        h(
          "div",
          {},
          formula("the place in the vector", letter("d"), "=", placeFormula(index.slice(1)), "=", String(d)),
          formula("the gradient", indexed("dx", ...index), "=", indexed("dy", index[0], d), "=", figure(inArray, true)),
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
        );
      return {
        secret: ["y", "dy"],
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
            revealing(description),
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
      describe,
      toOutput: (index) => [index[0], place(index)],
      toInput: ([n, d]) => [n, ...origin(d)],
    });
  }

  function logSoftmaxView(layer) {
    const sums = M.sumsOf(layer);
    const story =
      "Scores become log-probabilities: from each score the same number is taken, the log of the sum of all " +
      "exp(x). A score reaches every output through that sum, so each dx hears of all dy.";

    function describe([n, k], revealing) {
      const result = sums.input(n, k);
      const inArray = layer.dx.get(n, k);
      const description = () =>
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
        );
      return {
        secret: ["dx"],
        said: `dx of class ${M.className(k)} is ${number(inArray)}.`,
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
            sum("all classes m"),
            indexed("dy", "n", "m"),
          ),
          h(
            "p",
            { class: "aside" },
            `with p = exp(y), here ${number(result.p)}; the sum of dy is ${number(result.sum_dy)}`,
          ),
          classTable(n, k),
          M.asked(
            {
              ask: `What is dx for class ${M.className(k)}?`,
              answer: inArray,
              why: "It is dy − p · (sum of dy).",
            },
            revealing(description),
          ),
        ],
      };
    }

    function classTable(n, chosen) {
      const row = (k) => {
        const y = layer.y.get(n, k);
        const numbers = [layer.x.get(n, k), y, Math.exp(y), layer.dy.get(n, k)].map((value) => M.num(value));
        return h(
          "tr",
          { class: k === chosen ? "chosen" : null },
          h("th", { scope: "row" }, M.className(k)),
          [...numbers, M.state.asking ? "?" : M.num(layer.dx.get(n, k))].map((value) => h("td", {}, value)),
        );
      };
      return M.table({
        caption: `Image ${n}, class by class`,
        head: ["class", "x", "y", "p = exp(y)", "dy", "dx"],
        rows: layer.y.kept(1).map(row),
      });
    }

    return M.cellwise(layer, story, { describe });
  }

  Object.assign(M, { flattenView, logSoftmaxView });
})();
