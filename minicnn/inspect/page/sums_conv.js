/* The sums of a convolution: the same products, collected by output, by pixel and by weight.

   They are the formulas of minicnn's `reference` backend, one cell at a time, so that a view can show each product.
   Every function returns {terms, sum, missing, rest}: the terms whose numbers are in the page, their sum, how many more
   there are whose numbers are left out of a large page, and what those come to, which the framework worked out. Nothing
   here draws: the views and the tests call the same functions. */

(() => {
  const M = window.MINICNN;

  /** Add up `terms`; a term without a product is one whose numbers are left out. */
  function added(terms, rest = undefined) {
    const here = terms.filter((term) => term.product !== undefined);
    return {
      terms: here,
      sum: here.reduce((sum, term) => sum + term.product, 0),
      missing: terms.length - here.length,
      rest,
    };
  }

  /** a · b, or undefined where either is left out. */
  const times = (a, b) => (a === undefined || b === undefined ? undefined : a * b);

  const range = (n) => Array.from({ length: n }, (_, index) => index);

  function convolution({ extra, x, y, dy, params, rest }) {
    const [kernelH, kernelW] = extra.kernel_size;
    const [strideH, strideW] = extra.stride;
    const [padH, padW] = extra.padding;
    const [images, channels, height, width] = x.shape;
    const [, filters, outH, outW] = y.shape;
    const { weight, bias } = params;

    /** Which cell of x the tap (i, j) of output (p, q) sees; null in the padding. */
    function seen(p, q, i, j) {
      const r = p * strideH + i - padH;
      const s = q * strideW + j - padW;
      return r >= 0 && r < height && s >= 0 && s < width ? { r, s } : null;
    }

    /** y[n, f, p, q] without its bias: what each pixel of the window brings. */
    function forward(n, f, p, q) {
      const terms = [];
      for (const c of range(channels))
        for (const i of range(kernelH))
          for (const j of range(kernelW)) {
            const cell = seen(p, q, i, j);
            if (!cell) continue;
            const factors = { weight: weight.get(f, c, i, j), x: x.get(n, c, cell.r, cell.s) };
            terms.push({ f, c, i, j, p, q, ...cell, ...factors, product: times(factors.weight, factors.x) });
          }
      const result = added(terms, rest.y?.get(n, f, p, q));
      const offset = bias ? bias.get(f) : 0;
      return { ...result, bias: offset, sum: offset === undefined ? result.sum : result.sum + offset };
    }

    /** dx[n, c, r, s] as the outputs see it: each that looked at (r, s) sends dy times the weight it used. */
    function scatter(n, c, r, s) {
      const terms = [];
      for (const f of range(filters))
        for (const p of range(outH)) {
          const i = r + padH - p * strideH;
          if (i < 0 || i >= kernelH) continue;
          for (const q of range(outW)) {
            const j = s + padW - q * strideW;
            if (j < 0 || j >= kernelW) continue;
            const factors = { weight: weight.get(f, c, i, j), dy: dy.get(n, f, p, q) };
            terms.push({ f, c, i, j, p, q, ...factors, product: times(factors.weight, factors.dy) });
          }
        }
      return added(terms, rest.dx?.get(n, c, r, s));
    }

    /** dy with stride - 1 zeros between its cells and kernel - 1 - padding around it, at row u and column v.

        A zero that was put in has p = null. A padding of kernel or more leaves a negative rim: cells are cut off. */
    function spread(n, f, u, v) {
      const [p, q] = [(u - (kernelH - 1 - padH)) / strideH, (v - (kernelW - 1 - padW)) / strideW];
      const real = Number.isInteger(p) && Number.isInteger(q) && p >= 0 && q >= 0 && p < outH && q < outW;
      return real ? { p, q, value: dy.get(n, f, p, q) } : { p: null, q: null, value: 0 };
    }

    /** dx[n, c, r, s] as a correlation: the kernel, turned by 180°, over the spread dy with its corner at (r, s). */
    function correlation(n, c, r, s) {
      const terms = [];
      for (const f of range(filters))
        for (const a of range(kernelH))
          for (const b of range(kernelW)) {
            const [i, j] = [kernelH - 1 - a, kernelW - 1 - b];
            const { p, q, value } = spread(n, f, r + a, s + b);
            const factors = { weight: weight.get(f, c, i, j), dy: value };
            terms.push({ f, c, a, b, i, j, p, q, ...factors, product: times(factors.weight, factors.dy) });
          }
      return added(terms, rest.dx?.get(n, c, r, s));
    }

    /** dweight[f, c, i, j]: dy times the pixel this weight met, over all positions of all images. */
    function weightGradient(f, c, i, j) {
      const terms = [];
      for (const n of range(images))
        for (const p of range(outH))
          for (const q of range(outW)) {
            const cell = seen(p, q, i, j);
            if (!cell) continue; // the weight met a zero of the padding
            const factors = { dy: dy.get(n, f, p, q), x: x.get(n, c, cell.r, cell.s) };
            terms.push({ n, f, c, i, j, p, q, ...cell, ...factors, product: times(factors.dy, factors.x) });
          }
      return added(terms, rest.dweight?.get(f, c, i, j));
    }

    function biasGradient(f) {
      const terms = [];
      for (const n of range(images))
        for (const p of range(outH))
          for (const q of range(outW)) {
            terms.push({ n, f, p, q, product: dy.get(n, f, p, q) });
          }
      return added(terms, rest.dbias?.get(f));
    }

    /** The messages that dy[n, f, p, q] sends by way of channel c: one to each pixel it saw, one to each weight. */
    function contributions(n, f, p, q, c) {
      const from = dy.get(n, f, p, q);
      return range(kernelH).flatMap((i) =>
        range(kernelW).map((j) => {
          const cell = seen(p, q, i, j);
          const [w, pixel] = [weight.get(f, c, i, j), cell ? x.get(n, c, cell.r, cell.s) : 0];
          return { i, j, cell, weight: w, x: pixel, to_x: times(from, w), to_weight: times(from, pixel) };
        }),
      );
    }

    return { seen, forward, scatter, spread, correlation, weightGradient, biasGradient, contributions };
  }

  Object.assign(M, { convolution, added, times, range });
})();
