/* The view of batch normalisation: dx as the sum of three paths, training beside evaluation, x before and after. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, formula, letter } = M.formulas;
  const STORY =
    "Forward brings each channel to mean 0 and variance 1. In training the mean and the variance are made of x " +
    "itself, so a pixel reaches y by three paths: directly, through the mean, and through the variance. Each path brings " +
    "back a part of dx. In evaluation the statistics are constants, and only the direct path is left.";
  const PATHS = {
    direct: "direct",
    mean: "through the mean",
    variance: "through the variance",
  };
  const PATCH = 2; // cells to each side of the chosen one that a question shows

  function batchnormView(layer) {
    const sums = M.sumsOf(layer);
    const training = M.record.mode === "train";
    const chosen = { n: M.state.image, c: layer.x.kept(1)[0] };
    const told = M.panel();
    const body = h("div", {});
    let maps = {};
    let at = null;

    function build() {
      const { n, c } = chosen;
      const pick = (index) => tell(index.slice(-2));
      const [x, dx] = M.inputMaps(layer, { n, c, onforward: pick, onbackward: pick });
      const [y, dy] = M.outputMaps(layer, { n, c, onforward: pick, onbackward: pick });
      // One scale for the parts and for their sum, or they could not be compared.
      const largest = d3.max([layer.dx, sums.evaluated, ...Object.values(sums.paths)], M.reach);
      const partMap = (role, name, about, array) =>
        M.map({
          role,
          name,
          about,
          onpick: pick,
          plane: M.planeOf(array, n, c),
          scale: M.scale("gradient", largest),
        });
      const parts = training
        ? Object.entries(PATHS).map(([path, name]) => [
            path,
            partMap(`path-${path}`, name, "a part of dx", sums.paths[path]),
          ])
        : [];
      const evaluated = partMap("eval-dx", "dx in evaluation", "the statistics are constants", sums.evaluated);
      maps = { x, dx, y, dy, ...Object.fromEntries(parts), evaluated };
      body.replaceChildren(
        h(
          "div",
          { class: "maps-and-panel" },
          M.sides(
            [
              [x, dx],
              [y, dy],
            ].map((pair) => pair.map((map) => map.element)),
          ),
          told.element,
        ),
        h(
          "section",
          {},
          h("h2", {}, training ? "The three paths, and evaluation beside them" : "Evaluation"),
          h(
            "p",
            {},
            training
              ? "The three maps on the left add up to dx, cell by cell. The last one is what dx would be in evaluation mode, with " +
                  "the running statistics in place of the batch's."
              : "This page was recorded in evaluation mode: dx is the direct path alone. A page recorded in training mode shows " +
                  "all three.",
          ),
          h(
            "div",
            { class: "paths" },
            parts.map(([path, map]) => h("div", { class: `path path-${path}` }, map.element)),
            h("div", { class: "path" }, evaluated.element),
          ),
        ),
        histograms(),
      );
      tell(at ?? M.strongest(dx.plane).slice(-2));
    }

    function tell(cell) {
      at = cell;
      const [r, s] = cell;
      const { n, c } = chosen;
      for (const map of Object.values(maps)) map.show(map.plane.place(r, s));
      const inArray = layer.dx.get(n, c, r, s);
      told.show(
        `dx at row ${r}, column ${s} is ${number(inArray)}.`,
        h("h2", {}, "One cell of dx"),
        training
          ? M.asked(patch(n, c, r, s), () => h("div", {}, threePaths(n, c, r, s), inEvaluation(n, c, r, s)))
          : inEvaluation(n, c, r, s),
      );
    }

    function threePaths(n, c, r, s) {
      const result = sums.input(n, c, r, s);
      const { a, dy, x_hat, mean_dy, mean_dy_x_hat } = sums.factors(n, c, r, s);
      const part = Object.fromEntries(result.terms.map((term) => [term.path, term.product]));
      const rows = result.terms.map((term) => ({
        name: PATHS[term.path],
        value: term.product,
        style: `path-${term.path}`,
      }));
      return [
        h("h3", {}, "In training"),
        formula(
          "dx as three paths",
          indexed("dx"),
          "=",
          letter("a"),
          "(",
          coloured("direct", indexed("dy")),
          "−",
          coloured("mean", letter("mean(dy)")),
          "−",
          coloured("variance", indexed("x_hat"), "·", letter("mean(dy · x̂)")),
          ")",
        ),
        h("p", { class: "aside" }, `with a = weight / √(var + eps) = ${number(a)}`),
        formula(
          "filled in",
          indexed("dx", n, c, r, s),
          "=",
          figure(a),
          "(",
          coloured("direct", figure(dy)),
          "−",
          coloured("mean", figure(mean_dy)),
          "−",
          coloured("variance", figure(x_hat), "·", figure(mean_dy_x_hat)),
          ")",
        ),
        h(
          "dl",
          { class: "path-list" },
          result.terms.map((term) =>
            h(
              "div",
              { class: `sum-line path-${term.path}` },
              h("dt", {}, PATHS[term.path]),
              h("dd", {}, M.num(term.product, { "data-product": term.path })),
            ),
          ),
        ),
        M.charts.waterfall({
          caption: "The three parts, one after the other",
          rows,
          total: part.direct + part.mean + part.variance,
        }),
        M.asked(
          {
            ask: "What do the three parts come to?",
            answer: result.sum,
            why: "dx is their sum.",
          },
          () =>
            M.result({
              name: `dx[${n}, ${c}, ${r}, ${s}]`,
              inArray: layer.dx.get(n, c, r, s),
              sums: [{ way: "paths", label: "direct + mean + variance", result }],
            }),
        ),
      ];
    }

    function inEvaluation(n, c, r, s) {
      const { a_eval: scale, dy } = sums.factors(n, c, r, s);
      const product = scale * dy;
      return [
        h("h3", {}, "In evaluation"),
        formula(
          "dx in evaluation",
          indexed("dx", n, c, r, s),
          "=",
          letter("a"),
          "·",
          indexed("dy", n, c, r, s),
          "=",
          figure(scale),
          "·",
          figure(dy),
          "=",
          figure(product, true),
        ),
        h("p", { class: "aside" }, "with a = weight / √(running var + eps)"),
        M.result({
          name: `dx[${n}, ${c}, ${r}, ${s}] of evaluation`,
          inArray: sums.evaluated.get(n, c, r, s),
          sums: [{ way: "evaluation", label: "a · dy", result: { terms: [{ product }], sum: product, missing: 0 } }],
        }),
      ];
    }

    /** Whom does a single cell of dy reach? In training all of its channel, for all share the mean and the variance. */
    function patch(n, c, r, s) {
      const around = (centre, size) => [Math.max(centre - PATCH, 0), Math.min(centre + PATCH + 1, size)];
      const [[r0, r1], [s0, s1]] = [around(r, layer.x.shape[2]), around(s, layer.x.shape[3])];
      return {
        ask:
          `Suppose dy were 0 but for the cell at row ${r}, column ${s}. Which of these cells of dx would not be 0, in ` +
          `training? (Rows ${r0} to ${r1 - 1}, columns ${s0} to ${s1 - 1}.)`,
        why:
          "All of them, and all other cells of the channel in all images: each had its share in the mean and in the " +
          "variance that made this y. In evaluation it would be the one cell alone.",
        rows: r1 - r0,
        columns: s1 - s0,
        name: (row, column) => `row ${r0 + row}, column ${s0 + column}`,
        truth: () => true,
      };
    }

    /** The channel before and after, over all images that the page has. */
    function histograms() {
      const { c } = chosen;
      const cells = layer.x.kept(0).flatMap((n) => d3.cross(layer.x.kept(2), layer.x.kept(3), (r, s) => [n, c, r, s]));
      const of = (values, name) => {
        const mean = d3.mean(values);
        const deviation = Math.sqrt(d3.mean(values, (value) => (value - mean) ** 2)); // divided by n, as the layer does
        const caption = `${name}: mean ${M.short(mean)}, standard deviation ${M.short(deviation)}`;
        return M.charts.histogram({ caption, values, kind: "value" });
      };
      return h(
        "section",
        {},
        h("h2", {}, "The channel before and after"),
        h(
          "div",
          { class: "charts" },
          of(
            cells.map((cell) => layer.x.get(...cell)),
            `x, channel ${c}`,
          ),
          of(
            cells.map((cell) => sums.xHat(...cell)),
            `x̂ = (x − mean) / √(var + eps), channel ${c}`,
          ),
        ),
        layer.x.whole ? null : M.absent("Of the cells that are in this page; the statistics are those of all."),
      );
    }

    build();
    return M.layerView(
      layer,
      STORY,
      h(
        "div",
        { class: "controls" },
        M.channelChooser("channel", "channel c", layer.x.kept(1), chosen.c, (c) => {
          chosen.c = c;
          build();
        }),
      ),
      body,
    );
  }

  /** A part of a formula in the colour of its path. */
  const coloured = (path, ...parts) =>
    M.mathml(
      "mrow",
      { class: `path-${path}` },
      parts.map((part) => (typeof part === "string" ? M.mathml("mo", {}, part) : part)),
    );

  M.batchnormView = batchnormView;
})();
