/* The description of a cell of a linear layer's maps: a weight, an input, an output, or a cell of dy.

   Every answer has the maps the cell is `on`, and marks: single `cells` by their indices, whole `rows` and `columns` of
   a matrix by the output and the input they belong to; `secret` is the map that would give the answer away. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, filledIn } = M.formulas;

  function linearWeight({ layer, sums, n, revealing }, [k, d]) {
    const result = sums.weightGradient(k, d);
    const inArray = layer.grads.weight.get(k, d);
    const [x, dy] = [layer.x.get(n, d), layer.dy.get(n, k)];
    const images = layer.x.shape[0];
    const description = () =>
      h(
        "div",
        {},
        formula(
          "the outer product",
          indexed("dweight", "k", "d"),
          "=",
          images > 1 ? sum("n") : null,
          indexed("dy", "n", "k"),
          "·",
          indexed("x", "n", "d"),
        ),
        formula(
          "filled in",
          indexed("dweight", k, d),
          "=",
          filledIn(result.terms, ["dy", "x"]),
          "=",
          figure(result.sum, true),
        ),
        M.result({
          name: `dweight[${k}, ${d}]`,
          inArray,
          sums: [{ way: "weight", label: images > 1 ? `sum over ${images} images` : "dy · x", result }],
        }),
        M.products({
          terms: result.terms,
          columns: [
            { head: "image n", of: (term) => String(term.n) },
            { head: "dy", of: (term) => term.dy },
            { head: "x", of: (term) => term.x },
          ],
        }),
      );
    return {
      on: ["weight", "dweight"],
      secret: "dweight",
      cells: { x: [n, d], again: [n, d], y: [n, k], dy: [n, k] },
      said: `The gradient of the weight from input ${d} to output ${k} is ${number(inArray)}.`,
      content: [
        h("h2", {}, "One weight"),
        h(
          "p",
          {},
          `The weight from input ${d} to output ${k} is `,
          M.num(layer.params.weight.get(k, d)),
          ". In this image it met x = ",
          M.num(x),
          " going forward and dy = ",
          M.num(dy),
          " coming back.",
        ),
        M.asked(
          {
            ask: images > 1 ? `What is dy · x for image ${n}?` : "What is its gradient?",
            answer: dy * x,
            why: images > 1 ? "The gradient is the sum of these over the images." : "It is dy times x.",
          },
          revealing(description),
        ),
      ],
    };
  }

  function linearInput({ layer, sums, n }, [, d]) {
    const result = sums.input(n, d);
    const inArray = layer.dx.get(n, d);
    const description = () =>
      h(
        "div",
        {},
        formula(
          "the sum over the outputs",
          indexed("dx", "n", "d"),
          "=",
          sum("k"),
          indexed("weight", "k", "d"),
          "·",
          indexed("dy", "n", "k"),
        ),
        formula(
          "filled in",
          indexed("dx", n, d),
          "=",
          filledIn(result.terms, ["weight", "dy"]),
          "=",
          figure(result.sum, true),
        ),
        M.result({
          name: `dx[${n}, ${d}]`,
          inArray,
          sums: [{ way: "input", label: `${result.terms.length} products`, result }],
        }),
        M.products({
          terms: result.terms,
          columns: [
            { head: "output k", of: (term) => String(term.k) },
            { head: "weight", of: (term) => term.weight },
            { head: "dy", of: (term) => term.dy },
          ],
        }),
      );
    return {
      on: ["x", "dx", "again"],
      columns: { weight: d },
      said: `dx of input ${d} is ${number(inArray)}, the sum of ${result.terms.length + result.missing} products.`,
      content: [
        h("h2", {}, "What arrives at one input"),
        h(
          "p",
          {},
          `Input ${d} went into every output, each time through a weight of its own: the column outlined on weight. ` +
            "It is worth what its outputs are worth, each times that weight.",
        ),
        M.asked(
          {
            ask: "How many products are added up?",
            answer: result.terms.length + result.missing,
            whole: true,
            why: "One for each output.",
          },
          description,
        ),
      ],
    };
  }

  function linearSent({ layer, sums, n, revealing }, [, k]) {
    const from = layer.dy.get(n, k);
    const d = d3.greatest(layer.x.kept(1), (input) => Math.abs(layer.x.get(n, input)));
    const x = layer.x.get(n, d);
    const description = () =>
      h(
        "div",
        {},
        h(
          "p",
          {},
          "To every input it sends itself times the weight between them, the row outlined on weight. To every " +
            "weight of that row it sends itself times x: the row of dweight is the whole input, made larger or " +
            "smaller by this one number. The bias hears the number itself.",
        ),
        layer.grads.bias
          ? M.result({
              name: `dbias[${k}]`,
              inArray: layer.grads.bias.get(k),
              sums: [{ way: "bias", label: "sum of dy over the images", result: sums.biasGradient(k) }],
            })
          : null,
      );
    return {
      on: ["y", "dy"],
      secret: "dweight",
      rows: { weight: k, dweight: k },
      said: `dy of output ${k} is ${number(from)}.`,
      content: [
        h("h2", {}, "What one cell of dy sends"),
        formula("the chosen cell", indexed("dy", n, k), "=", figure(from, true)),
        M.asked(
          {
            ask: `Input ${d} is ${number(x)}. What does this cell of dy send to the weight between the two?`,
            answer: from * x,
            why: `It is dy times x: ${number(from)} · ${number(x)}.`,
          },
          revealing(description),
        ),
      ],
    };
  }

  function linearOutput({ layer, sums, n }, [, k]) {
    const result = sums.forward(n, k);
    const inArray = layer.y.get(n, k);
    const { bias } = layer.params;
    const count = result.terms.length + result.missing;
    const description = () =>
      h(
        "div",
        {},
        formula(
          "filled in",
          indexed("y", n, k),
          "=",
          bias ? [result.bias, "+"] : null,
          filledIn(result.terms, ["weight", "x"]),
          "=",
          figure(result.sum, true),
        ),
        M.result({
          name: `y[${n}, ${k}]`,
          inArray,
          sums: [{ way: "forward", label: `${result.terms.length} products${bias ? " and the bias" : ""}`, result }],
        }),
        M.products({
          terms: result.terms,
          columns: [
            { head: "input d", of: (term) => String(term.d) },
            { head: "weight", of: (term) => term.weight },
            { head: "x", of: (term) => term.x },
          ],
        }),
      );
    return {
      on: ["y", "dy"],
      rows: { weight: k },
      said: `Output ${k} is ${number(inArray)}.`,
      content: [
        h("h2", {}, "How one output was made"),
        M.asked(
          {
            ask: "How many products are added up?",
            answer: count,
            whole: true,
            why: `One for each input${bias ? "; the bias comes on top" : ""}.`,
          },
          description,
        ),
      ],
    };
  }

  Object.assign(M, { linearWeight, linearInput, linearSent, linearOutput });
})();
