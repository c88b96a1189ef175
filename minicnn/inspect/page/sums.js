/* The sums behind a gradient, term by term, of all layers but the convolution (see sums_conv.js). */

(() => {
  const M = window.MINICNN;
  const { added, times, range } = M;

  function pooling({ extra, x, dy, rest }) {
    const { rows, columns } = extra;
    const argmax = M.decode(extra.argmax);
    const width = x.shape[3];

    /** The windows of one axis that hold the cell `at`. They may be several: windows overlap. */
    const holding = (windows, at) => range(windows.length).filter((p) => windows[p][0] <= at && at < windows[p][1]);

    /** The cell that won window (p, q): the row and column the framework noted; null for averages. */
    function winner(n, c, p, q) {
      const at = argmax ? argmax.get(n, c, p, q) : null;
      if (at === undefined) return undefined;
      return at === null ? null : { r: Math.floor(at / width), s: at % width };
    }

    /** dx[n, c, r, s]: what each window that holds the cell pays into it. Max: all or nothing; average: a share. */
    function input(n, c, r, s) {
      const terms = [];
      for (const p of holding(rows, r))
        for (const q of holding(columns, s)) {
          const [won, from] = [winner(n, c, p, q), dy.get(n, c, p, q)];
          const area = rows[p][2] * columns[q][2];
          const wins = won ? won.r === r && won.s === s : won === null;
          const missing = from === undefined || won === undefined;
          const share = extra.kind === "avg" ? from / area : wins ? from : 0;
          terms.push({ p, q, dy: from, area, winner: won, wins, product: missing ? undefined : share });
        }
      return added(terms, rest.dx?.get(n, c, r, s));
    }

    return { input, winner, holding };
  }

  function batchnorm({ extra, x, dy, params, grads }) {
    const [mean, variance] = [M.decode(extra.mean), M.decode(extra.var)];
    const paths = Object.fromEntries(Object.entries(extra.paths).map(([name, array]) => [name, M.decode(array)]));
    const evaluated = M.decode(extra.eval_dx);
    const runningVar = M.decode(extra.running_var);

    /** The three parts of dx as the framework made them. */
    function input(n, c, r, s) {
      return added(Object.entries(paths).map(([path, array]) => ({ path, product: array.get(n, c, r, s) })));
    }

    const spread = (c) => Math.sqrt(variance.get(c) + extra.eps);
    const xHat = (n, c, r, s) => {
      const value = x.get(n, c, r, s);
      return value === undefined ? undefined : (value - mean.get(c)) / spread(c);
    };

    /** The numbers that the formula of the three paths is filled in with. */
    function factors(n, c, r, s) {
      return {
        a: params.weight.get(c) / spread(c),
        a_eval: params.weight.get(c) / Math.sqrt(runningVar.get(c) + extra.eps),
        dy: dy.get(n, c, r, s),
        x_hat: xHat(n, c, r, s),
        mean_dy: grads.bias.get(c) / extra.count, // dbias is the sum of dy
        mean_dy_x_hat: grads.weight.get(c) / extra.count, // dweight is the sum of dy · x_hat
      };
    }

    return { input, xHat, factors, paths, evaluated };
  }

  function linear({ x, y, dy, params, rest }) {
    const { weight, bias } = params;
    const [images, inputs] = x.shape;
    const outputs = y.shape[1];
    const over = (n, term, left) => added(range(n).map(term), left);
    return {
      forward: (n, k) => {
        const result = over(
          inputs,
          (d) => {
            const factors = { weight: weight.get(k, d), x: x.get(n, d) };
            return { n, k, d, ...factors, product: times(factors.weight, factors.x) };
          },
          rest.y?.get(n, k),
        );
        const offset = bias ? bias.get(k) : 0;
        return { ...result, bias: offset, sum: offset === undefined ? result.sum : result.sum + offset };
      },
      input: (n, d) =>
        over(
          outputs,
          (k) => {
            const factors = { weight: weight.get(k, d), dy: dy.get(n, k) };
            return { n, k, d, ...factors, product: times(factors.weight, factors.dy) };
          },
          rest.dx?.get(n, d),
        ),
      weightGradient: (k, d) =>
        over(
          images,
          (n) => {
            const factors = { dy: dy.get(n, k), x: x.get(n, d) };
            return { n, k, d, ...factors, product: times(factors.dy, factors.x) };
          },
          rest.dweight?.get(k, d),
        ),
      biasGradient: (k) => over(images, (n) => ({ n, k, product: dy.get(n, k) }), rest.dbias?.get(k)),
    };
  }

  function relu({ y, dy }) {
    return {
      /** dx is dy where y > 0 and 0 elsewhere: one term. */
      input: (...at) => {
        const open = y.get(...at) > 0;
        const from = dy.get(...at);
        const missing = from === undefined || y.get(...at) === undefined;
        return added([{ dy: from, open, product: missing ? undefined : open ? from : 0 }]);
      },
    };
  }

  function logSoftmax({ y, dy, rest }) {
    return {
      /** dx[n, k] = dy[n, k] - exp(y[n, k]) · (sum of dy[n, ·]): two terms. */
      input: (n, k) => {
        const all = added(range(y.shape[1]).map((other) => ({ product: dy.get(n, other) })));
        const p = y.get(n, k) === undefined ? undefined : Math.exp(y.get(n, k));
        const known = all.missing ? all.sum + rest.sum_dy.get(n) : all.sum;
        const back = times(p, known);
        return {
          ...added([
            { part: "direct", product: dy.get(n, k) },
            { part: "through the sum", product: back === undefined ? undefined : -back },
          ]),
          p,
          sum_dy: known,
        };
      },
    };
  }

  /** The cells of (N, …) in the flat (N, D): all axes but the first, read in order. */
  function flatten({ x }) {
    const sizes = x.shape.slice(1);
    return {
      /** Where the cell with these indices stands in its image's vector. */
      place: (index) => index.slice(1).reduce((place, i, axis) => place * sizes[axis] + i, 0),
      /** The indices, without the image, of the cell that stands at place d. */
      origin: (d) =>
        sizes.reduceRight(
          ([index, left], size) => [[left % size, ...index], (left - (left % size)) / size],
          [[], d],
        )[0],
    };
  }

  /** The windows of adaptive pooling, (start, stop, extent), in whole numbers: what `minicnn.geometry` computes. */
  function adaptiveWindows(nIn, nOut) {
    const whole = (a, b) => (a - (a % b)) / b; // never by way of a fraction: 25 · (7 / 25) is above 7
    return range(nOut).map((p) => {
      const start = whole(p * nIn, nOut);
      const stop = whole((p + 1) * nIn + nOut - 1, nOut);
      return [start, stop, stop - start];
    });
  }

  const BY_KIND = {
    Conv2d: M.convolution,
    MaxPool2d: pooling,
    AvgPool2d: pooling,
    AdaptiveMaxPool2d: pooling,
    AdaptiveAvgPool2d: pooling,
    BatchNorm2d: batchnorm,
    Linear: linear,
    ReLU: relu,
    LogSoftmax: logSoftmax,
    Flatten: flatten,
  };

  /** The sums of one layer; null for a kind of layer that this page knows nothing about. */
  const sumsOf = (layer) => BY_KIND[layer.kind]?.(layer) ?? null;

  Object.assign(M, { sumsOf, adaptiveWindows });
})();
