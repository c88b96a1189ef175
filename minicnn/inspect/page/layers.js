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
    };
  });

  const byName = new Map(layers.map((layer) => [layer.name, layer]));

  /** The functions of the sums of the layer called `name`: what its view shows, for tests to compare with arrays. */
  const layerSums = (name) => M.sumsOf(byName.get(name));

  /** How far a sum of these terms may be from the array's number: each addition rounds once. */
  function tolerance(terms) {
    const epsilon = record.dtype === "float32" ? 2 ** -23 : 2 ** -52;
    return epsilon * (terms.length + 2) * terms.reduce((sum, term) => sum + Math.abs(term.product), 0);
  }

  Object.assign(M, { record, tensors, layers, byName, layerSums, tolerance });
})();
