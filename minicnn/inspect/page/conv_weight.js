/* One weight of a convolution: its gradient as a sum over all positions. And one cell of y, forward, to compare. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, filledIn } = M.formulas;
  const MANY = 600; // outlines of single cells; more of them would only hide the map

  function convWeight({ layer, sums, revealing, chosen: { n, c, f } }, [i, j]) {
    const { x, y, params, grads } = layer;
    const [, , outH, outW] = y.shape;
    const result = sums.weightGradient(f, c, i, j);
    const inArray = grads.weight?.get(f, c, i, j);
    const met = result.terms.filter((term) => term.n === n);
    const products = d3.rollup(
      met,
      ([term]) => term.product,
      (term) => term.p * outW + term.q,
    );
    const largest = d3.max(met, (term) => Math.abs(term.product)) ?? 0;

    const description = () =>
      h(
        "div",
        {},
        formula(
          "the sum over all positions",
          indexed("dweight", "f", "c", "i", "j"),
          "=",
          sum("n, p, q"),
          indexed("dy", "n", "f", "p", "q"),
          "·",
          indexed("x", "n", "c", "r", "s"),
        ),
        M.map({
          role: "products",
          name: "dy · x",
          about: `image ${n}: each product at its output; their sum is the gradient`,
          scale: M.scale("gradient", largest),
          plane: M.planes.made(
            outH,
            outW,
            (p, q) => products.get(p * outW + q) ?? (sums.seen(p, q, i, j) ? undefined : 0),
          ),
        }).element,
        formula(
          "filled in",
          indexed("dweight", f, c, i, j),
          "=",
          filledIn(result.terms, ["dy", "x"]),
          "=",
          figure(result.sum, true),
        ),
        M.result({
          name: `dweight[${f}, ${c}, ${i}, ${j}]`,
          inArray,
          sums: [{ way: "weight", label: `sum over ${M.count(result.terms.length)} positions`, result }],
        }),
        biasNote(),
        M.products({
          terms: result.terms,
          groups: (term) => `image ${term.n}, row ${term.p} of dy`,
          columns: [
            { head: "output p, q", of: (term) => `${term.p}, ${term.q}` },
            { head: "pixel r, s", of: (term) => `${term.r}, ${term.s}` },
            { head: "dy", of: (term) => term.dy },
            { head: "x", of: (term) => term.x },
          ],
        }),
      );

    /** The bias meets a 1 at every position, so its gradient is the sum of dy. */
    function biasNote() {
      if (!grads.bias) return null;
      const total = sums.biasGradient(f);
      return h(
        "details",
        {},
        h("summary", {}, "and the bias"),
        h("p", {}, "The bias is added at every position, as if it met a pixel of 1. So its gradient is the sum of dy."),
        M.result({
          name: `dbias[${f}]`,
          inArray: grads.bias.get(f),
          sums: [{ way: "bias", label: `sum of ${M.count(total.terms.length)} numbers of dy`, result: total }],
        }),
      );
    }

    const [outsideRows, outsideColumns] = [
      M.range(outH).filter((p) => !seesRow(p)),
      M.range(outW).filter((q) => !seesColumn(q)),
    ];
    function seesRow(p) {
      const r = p * layer.extra.stride[0] + i - layer.extra.padding[0];
      return r >= 0 && r < x.shape[2];
    }
    function seesColumn(q) {
      const s = q * layer.extra.stride[1] + j - layer.extra.padding[1];
      return s >= 0 && s < x.shape[3];
    }
    const positions = x.shape[0] * (outH - outsideRows.length) * (outW - outsideColumns.length);
    const kernelCell = [{ rows: [i, i + 1], columns: [j, j + 1], kind: "window" }];
    return {
      on: ["weight", "dweight"],
      marks: { x: pixelsMet(layer, met), dx: [], weight: kernelCell, dweight: kernelCell, dy: cellsOf(met), y: [] },
      said:
        `The gradient of the weight ${f}, ${c}, ${i}, ${j} is ${number(inArray)}, a sum over ${positions} ` +
        "positions.",
      content: [
        h("h2", {}, "The gradient of one weight"),
        formula("the chosen weight", indexed("weight", f, c, i, j), "=", figure(params.weight.get(f, c, i, j), true)),
        h(
          "p",
          {},
          "The same weight was used at every position: it met the pixels outlined on x, and each of them belongs to " +
            "one cell of dy. At each position it hears “you were multiplied by this pixel”, and adds up what it hears.",
        ),
        M.asked(
          {
            ask:
              `How many pixels did this weight meet, over all ${x.shape[0]} image${x.shape[0] > 1 ? "s" : ""}? ` +
              "The zeros of the padding do not count.",
            answer: positions,
            whole: true,
            why:
              `It is used once for each of ${outH} × ${outW} outputs` +
              (outsideRows.length || outsideColumns.length
                ? `, but in ${outsideRows.length} rows and ${outsideColumns.length} columns of them it met the padding.`
                : "."),
          },
          revealing(description),
        ),
      ],
    };
  }

  /** Outlines of the pixels that a weight met: one rectangle where they lie side by side. */
  function pixelsMet({ extra }, met) {
    if (met.length === 0) return [];
    const [rows, columns] = [d3.extent(met, (term) => term.r), d3.extent(met, (term) => term.s)];
    const around = [{ rows: [rows[0], rows[1] + 1], columns: [columns[0], columns[1] + 1], kind: "window" }];
    const dense = extra.stride[0] === 1 && extra.stride[1] === 1;
    if (dense || met.length > MANY) return around;
    return met.map(({ r, s }) => ({ rows: [r, r + 1], columns: [s, s + 1], kind: "part" }));
  }

  function cellsOf(met) {
    if (met.length === 0) return [];
    const [rows, columns] = [d3.extent(met, (term) => term.p), d3.extent(met, (term) => term.q)];
    return [{ rows: [rows[0], rows[1] + 1], columns: [columns[0], columns[1] + 1], kind: "window" }];
  }

  function convForward({ layer, sums, revealing, chosen: { n, c, f } }, [p, q]) {
    const result = sums.forward(n, f, p, q);
    const window = M.convWindow(layer, p, q);
    const [kernelH, kernelW] = layer.extra.kernel_size;
    const kernel = { rows: [0, kernelH], columns: [0, kernelW], kind: "window" };
    const inArray = layer.y.get(n, f, p, q);
    const channels = layer.x.shape[1];
    const allChannels = channels > 1 ? `each of the ${channels} channels` : "the one channel";
    const count = result.terms.length + result.missing;
    const description = () =>
      h(
        "div",
        {},
        formula(
          "the forward sum",
          indexed("y", "n", "f", "p", "q"),
          "=",
          layer.params.bias ? [indexed("bias", "f"), "+"] : null,
          sum("c, i, j"),
          indexed("weight", "f", "c", "i", "j"),
          "·",
          indexed("x", "n", "c", "r", "s"),
        ),
        formula(
          "filled in",
          indexed("y", n, f, p, q),
          "=",
          layer.params.bias ? [result.bias, "+"] : null,
          filledIn(result.terms, ["weight", "x"]),
          "=",
          figure(result.sum, true),
        ),
        M.result({
          name: `y[${n}, ${f}, ${p}, ${q}]`,
          inArray,
          sums: [
            {
              way: "forward",
              label: `${result.terms.length} products${layer.params.bias ? " and the bias" : ""}`,
              result,
            },
          ],
        }),
        M.products({
          terms: result.terms,
          groups: (term) => `channel ${term.c}`,
          open: `channel ${c}`,
          columns: [
            { head: "tap i, j", of: (term) => `${term.i}, ${term.j}` },
            { head: "pixel r, s", of: (term) => `${term.r}, ${term.s}` },
            { head: "weight", of: (term) => term.weight },
            { head: "x", of: (term) => term.x },
          ],
        }),
      );
    return {
      on: ["y"],
      marks: { x: [window], dx: [], weight: [kernel], dweight: [], dy: [] },
      said: `y at row ${p}, column ${q} is ${number(inArray)}, the sum of ${count} products.`,
      content: [
        h("h2", {}, "How one output was made"),
        h(
          "p",
          {},
          "Forward, to compare: the kernel lies on its window, and weight times pixel is added up over all " +
            "channels. Every one of these products comes back in backward, once with dy in place of x and once in " +
            "place of the weight.",
        ),
        M.asked(
          {
            ask:
              `How many products are added up for this one cell of y, over ${allChannels}? The zeros of the padding ` +
              "do not count.",
            answer: count,
            whole: true,
            why: `Of the kernel ${count / channels} cells lie on the map, and it has a slice for ${allChannels}.`,
          },
          revealing(description),
        ),
      ],
    };
  }

  Object.assign(M, { convWeight, convForward });
})();
