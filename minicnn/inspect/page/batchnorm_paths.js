/* One cell of a batchnorm's dx: the three paths in training, and the one in evaluation, with the numbers filled in. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, formula, letter } = M.formulas;
  const PATHS = { direct: "direct", mean: "through the mean", variance: "through the variance" };

  function batchnormTraining(layer, sums, index, revealing) {
    const result = sums.input(...index);
    const { a, dy, x_hat, mean_dy, mean_dy_x_hat } = sums.factors(...index);
    const parts = result.terms.map(({ path, product }) => ({
      name: PATHS[path],
      value: product,
      style: `path-${path}`,
    }));
    return [
      h("h3", {}, "In training"),
      formula(
        "dx as three paths",
        indexed("dx"),
        "=",
        letter("a"),
        "·",
        "(",
        coloured("direct", indexed("dy")),
        "−",
        coloured("mean", letter("mean(dy)")),
        "−",
        coloured("variance", indexed("x_hat"), "·", letter("mean(dy · x̂)")),
        ")",
      ),
      formula(
        "filled in",
        indexed("dx", ...index),
        "=",
        figure(a),
        "·",
        "(",
        coloured("direct", figure(dy)),
        "−",
        coloured("mean", figure(mean_dy)),
        "−",
        coloured("variance", figure(x_hat), "·", figure(mean_dy_x_hat)),
        ")",
      ),
      h("p", { class: "aside" }, `with a = weight / √(var + eps) = ${number(a)}`),
      h(
        "dl",
        {},
        result.terms.map(({ path, product }) =>
          h(
            "div",
            { class: `sum-line path-${path}` },
            h("dt", {}, PATHS[path]),
            h("dd", {}, M.num(product, { "data-product": path })),
          ),
        ),
      ),
      M.asked(
        { ask: "What do the three parts come to?", answer: result.sum, why: "dx is their sum." },
        revealing(() =>
          h(
            "div",
            {},
            M.charts.waterfall({ caption: "The three parts, one after the other", rows: parts, total: result.sum }),
            M.result({
              name: `dx[${index.join(", ")}]`,
              inArray: layer.dx.get(...index),
              sums: [{ way: "paths", label: "direct + mean + variance", result }],
            }),
          ),
        ),
      ),
    ];
  }

  function batchnormEvaluation(layer, sums, index) {
    const { a_eval: a, dy } = sums.factors(...index);
    const product = a * dy;
    return h(
      "div",
      {},
      h("h3", {}, "In evaluation"),
      formula(
        "dx in evaluation",
        indexed("dx", ...index),
        "=",
        letter("a"),
        "·",
        indexed("dy", ...index),
        "=",
        figure(a),
        "·",
        figure(dy),
        "=",
        figure(product, true),
      ),
      h("p", { class: "aside" }, "with a = weight / √(running var + eps)"),
      M.result({
        name: `dx[${index.join(", ")}] of evaluation`,
        inArray: sums.evaluated.get(...index),
        sums: [{ way: "evaluation", label: "a · dy", result: M.added([{ product }]) }],
      }),
    );
  }

  /** A part of a formula in the colour of its path. */
  const coloured = (path, ...parts) =>
    M.mathml(
      "mrow",
      { class: `path-${path}` },
      parts.map((part) => (typeof part === "string" ? M.mathml("mo", {}, part) : part)),
    );

  Object.assign(M, { PATHS, batchnormTraining, batchnormEvaluation });
})();
