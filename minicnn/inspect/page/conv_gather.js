/* One cell of a convolution's dx: the sum of what arrives, looked at in two ways that give the same number.

   Scatter: every output that looked at the pixel sends dy times the weight it used. Correlation: the kernel, turned by
   180°, lies over dy, which is spread out by the stride and padded. The products are the same; the way of counting them
   is not. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, filledIn } = M.formulas;

  const NEAR = 8; // cells to each side of the kernel

  function convGather(view, [r, s]) {
    const { layer, sums, chosen, revealing } = view;
    const { n, c, f } = chosen;
    const results = { scatter: sums.scatter(n, c, r, s), correlation: sums.correlation(n, c, r, s) };
    const inArray = layer.dx.get(n, c, r, s);
    const taps = results.scatter.terms.filter((term) => term.f === f);
    const count = results.scatter.terms.length + results.scatter.missing;

    /** Both ways of looking, to switch between. */
    function description() {
      const seen = h("div", {});
      const look = () => seen.replaceChildren(chosen.way === "scatter" ? asScatter() : asCorrelation());
      look();
      const ways = M.choice({
        legend: "Seen as",
        name: "way",
        value: chosen.way,
        options: [
          { value: "scatter", text: "scatter: outputs add into the cells they saw" },
          { value: "correlation", text: "correlation: the kernel turned by 180° slides over dy" },
        ],
        onchange: (way) => {
          chosen.way = way;
          look();
        },
      });
      return h("div", {}, ways, seen);
    }

    const asScatter = () =>
      h(
        "div",
        {},
        formula(
          "the sum of what the outputs send",
          indexed("dx", "n", "c", "r", "s"),
          "=",
          sum("f and all outputs p, q that looked here"),
          indexed("weight", "f", "c", "i", "j"),
          "·",
          indexed("dy", "n", "f", "p", "q"),
        ),
        filledAndSummed(results.scatter),
      );

    const asCorrelation = () =>
      h(
        "div",
        {},
        correlationMaps(),
        formula(
          "the sum under the turned kernel",
          indexed("dx", "n", "c", "r", "s"),
          "=",
          sum("f, a, b"),
          indexed("turned", "f", "c", "a", "b"),
          "·",
          indexed("spread dy", "n", "f", "r + a", "s + b"),
        ),
        filledAndSummed(results.correlation),
      );

    const filledAndSummed = (result) => [
      formula(
        "filled in",
        indexed("dx", n, c, r, s),
        "=",
        filledIn(result.terms, ["weight", "dy"]),
        "=",
        figure(result.sum, true),
      ),
      M.result({
        name: `dx[${n}, ${c}, ${r}, ${s}]`,
        inArray,
        sums: [
          { way: "scatter", label: `scatter: ${results.scatter.terms.length} products`, result: results.scatter },
          {
            way: "correlation",
            label: `turned kernel: ${results.correlation.terms.length} products, zeros counted`,
            result: results.correlation,
          },
        ],
      }),
      M.products({
        terms: result.terms,
        groups: (term) => `filter ${term.f}`,
        open: `filter ${f}`,
        columns: [
          { head: "output p, q", of: (term) => (term.p === null ? "a put-in 0" : `${term.p}, ${term.q}`) },
          { head: "tap i, j", of: (term) => `${term.i}, ${term.j}` },
          { head: "weight", of: (term) => term.weight },
          { head: "dy", of: (term) => term.dy },
        ],
      }),
    ];

    /** The spread dy with the kernel's place on it, the turned kernel, and the products of one filter. */
    function correlationMaps() {
      const [kernelH, kernelW] = layer.extra.kernel_size;
      const [top, bottom] = around(r, kernelH, layer.x.shape[2]);
      const [left, right] = around(s, kernelW, layer.x.shape[3]);
      const spread = M.map({
        role: "dy-spread",
        name: "spread dy",
        about: `filter ${f}, with zeros between and around`,
        scale: M.scaleOf(layer.output, "gradient"),
        plane: M.planes.made(bottom - top, right - left, (u, v) => sums.spread(n, f, u, v).value, [top, left]),
      });
      spread.mark([{ row: r - top, column: s - left, rows: kernelH, columns: kernelW, kind: "window" }]);
      const { weight } = layer.params;
      const turned = (a, b) => weight.get(f, c, kernelH - 1 - a, kernelW - 1 - b);
      const under = (a, b) => M.times(turned(a, b), sums.spread(n, f, r + a, s + b).value);
      const products = d3.cross(M.range(kernelH), M.range(kernelW), under);
      const small = (role, name, about, scale, get) =>
        M.map({
          role,
          name,
          about,
          scale,
          plane: M.planes.made(kernelH, kernelW, get),
          cellLimit: 44,
        }).element;
      return h(
        "div",
        {},
        spread.element,
        h(
          "div",
          { class: "small-maps" },
          small("turned", "weight, turned", `filter ${f}, channel ${c}`, M.scale("weight", M.reach(weight)), turned),
          small(
            "under",
            "products",
            `of filter ${f}`,
            M.scale(
              "gradient",
              d3.max(products, (product) => Math.abs(product ?? 0)),
            ),
            under,
          ),
        ),
      );
    }

    /** Of the spread dy all rows or columns; around the kernel some, where the page does not have all of dy. */
    const around = (at, kernel, size) =>
      layer.dy.whole
        ? [0, size + kernel - 1]
        : [Math.max(at - NEAR, 0), Math.min(at + kernel + NEAR, size + kernel - 1)];

    const cell = (kind) => [{ rows: [r, r + 1], columns: [s, s + 1], kind }];
    const each = (terms, row, column) =>
      terms.map((term) => ({
        rows: [term[row], term[row] + 1],
        columns: [term[column], term[column] + 1],
        kind: "part",
      }));
    return {
      on: ["dx"],
      marks: {
        x: cell("window"),
        weight: each(taps, "i", "j"),
        dweight: [],
        dy: each(taps, "p", "q"),
        y: each(taps, "p", "q"),
      },
      said: `dx at row ${r}, column ${s} is ${number(inArray)}, the sum of ${count} products.`,
      content: [
        h("h2", {}, "What arrives at one cell of dx"),
        h(
          "p",
          {},
          count === 0
            ? `The pixel at row ${r}, column ${s} lies between the windows: no output looked at it, so nothing arrives.`
            : `The pixel at row ${r}, column ${s} of channel ${c} was looked at by ${positions(results.scatter)}, in ` +
                `each of ${layer.y.shape[1]} filters. What each of them sends is added up.`,
        ),
        M.asked(
          {
            ask: `How many products are added up for this one cell of dx, over all ${layer.y.shape[1]} filters?`,
            answer: count,
            whole: true,
            why:
              `${M.count(count / layer.y.shape[1])} outputs of each filter saw this pixel, and there are ` +
              `${layer.y.shape[1]} filters.`,
          },
          revealing(description),
        ),
      ],
    };

    function positions({ terms, missing }) {
      const outputs = (terms.length + missing) / layer.y.shape[1];
      return `${outputs} output${outputs === 1 ? "" : "s"}`;
    }
  }

  M.convGather = convGather;
})();
