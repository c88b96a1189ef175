/* The layers of the record, ready to be looked at: their arrays decoded, their sums at hand. */

(() => {
  const M = window.MINICNN;
  const record = window.RECORD;

  const tensors = record.activations.map((activation) => ({
    ...activation,
    value: M.decode(activation.value),
    gradient: M.decode(activation.gradient),
  }));

  const decoded = (arrays) => Object.fromEntries(Object.entries(arrays).map(([key, array]) => [key, M.decode(array)]));

  const layers = record.layers.map((recorded) => {
    const [input, output] = [tensors[recorded.input], tensors[recorded.output]];
    return {
      ...recorded,
      x: input.value,
      dx: input.gradient,
      y: output.value,
      dy: output.gradient,
      input,
      output,
      params: decoded(recorded.params),
      grads: decoded(recorded.grads),
      rest: decoded(recorded.extra.rest ?? {}), // of sums whose terms are not all in the page, what the others come to
    };
  });

  const byName = new Map(layers.map((layer) => [layer.name, layer]));

  /** The functions of the sums of the layer called `name`: what its view shows, for tests to compare with arrays. */
  const layerSums = (name) => M.sumsOf(byName.get(name));

  /** How far a sum may be from the array's number: each addition rounds, up or down as it happens, so that the errors
      of n additions grow like the square root of n. */
  function tolerance({ terms, missing, rest = 0, bias = 0 }) {
    const epsilon = record.dtype === "float32" ? 2 ** -23 : 2 ** -52;
    const size = terms.reduce((sum, term) => sum + Math.abs(term.product), Math.abs(rest) + Math.abs(bias));
    const all = terms.length + missing;
    // Of the terms that are left out nothing is known but their sum; let them be as large as the others.
    return epsilon * (4 + Math.sqrt(all)) * size * (terms.length ? all / terms.length : all);
  }

  Object.assign(M, { record, tensors, layers, byName, layerSums, tolerance });
})();
