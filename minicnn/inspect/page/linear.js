/* The view of a linear layer: the gradient of its weights as the outer product of dy and x. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, filledIn } = M.formulas;
  const BLOCK = [24, 48]; // outputs and inputs that are shown at a time
  const STORY =
    "Every output is a weighted sum of all inputs. So each weight belongs to one input and one output, and its " +
    "gradient is the product of the two numbers that it met: dy of its output and x of its input. All of them together are " +
    "the outer product of dy and x, one such table for each image, added up.";

  function linearView(layer) {
    const sums = M.sumsOf(layer);
    const n = M.state.image;
    const blocks = [layer.y, layer.x].map((array, which) => inBlocks(array.kept(1), BLOCK[which]));
    const chosen = { k: 0, d: 0 };
    const told = M.panel();
    const body = h("div", { class: "maps-and-panel" });
    let maps = {};
    let picked = null;

    function build() {
      const [outputs, inputs] = [blocks[0][chosen.k], blocks[1][chosen.d]];
      const on = (kind) => (index) => tell(kind, index);
      const cellLimit = Math.min(26, 420 / outputs.length);
      const matrix = (array, role, kind, about) =>
        M.map({
          role,
          name: role,
          about,
          onpick: on("weight"),
          cellLimit,
          plane: M.planes.image(array, [], [outputs, inputs]),
          scale: M.scale(kind, M.reach(array)),
        });
      const weight = matrix(layer.params.weight, "weight", "weight", "a row for each output, a column for each input");
      const dweight = matrix(layer.grads.weight, "dweight", "gradient", "each cell is its dy times its x");
      const across = (array, indices) => M.planes.vector(array, [n], Infinity, indices);
      const beside = (array, indices) => M.planes.column(array, [n], indices);
      const flat = (role, name, about, plane, scale, leader, kind) =>
        M.map({ role, name, about, plane, scale, leader, onpick: on(kind) });
      const [xScale, dxScale] = [M.scaleOf(layer.input, "value"), M.scaleOf(layer.input, "gradient")];
      const [yScale, dyScale] = [M.scaleOf(layer.output, "value"), M.scaleOf(layer.output, "gradient")];
      maps = {
        weight,
        dweight,
        x: flat("x", "x", "input", across(layer.x, inputs), xScale, weight, "x"),
        y: flat("y", "y", "output", beside(layer.y, outputs), yScale, weight, "y"),
        again: flat("x-again", "x", "input, once more", across(layer.x, inputs), xScale, dweight, "x"),
        dy: flat("dy", "dy", "", beside(layer.dy, outputs), dyScale, dweight, "dy"),
        dx: flat("dx", "dx", "gradient of the input", across(layer.dx, inputs), dxScale, dweight, "dx"),
      };
      const crossed = (top, side, middle, below) =>
        h(
          "div",
          { class: "crossed" },
          h("div", { class: "crossed-row" }, top.element),
          side.element,
          middle.element,
          below ? h("div", { class: "crossed-row" }, below.element) : null,
        );
      body.replaceChildren(
        M.sides([[crossed(maps.x, maps.y, weight), crossed(maps.again, maps.dy, dweight, maps.dx)]]),
        told.element,
      );
      if (picked) tell(picked.kind, picked.index);
      else tell("weight", M.strongest(dweight.plane));
    }

    function tell(kind, index) {
      picked = { kind, index };
      const k = kind === "weight" ? index[0] : index[1];
      const d = index[1];
      const answers = {
        weight: () => ofWeight(index[0], d),
        dx: () => ofInput(d),
        x: () => ofInput(d),
        dy: () => ofDy(k),
        y: () => ofOutput(k),
      };
      const { said, content } = answers[kind]();
      const onRow = (map, at) => at && { row: at.row, column: 0, columns: map.plane.columns, kind: "window" };
      const onColumn = (map, at) => at && { row: 0, column: at.column, rows: map.plane.rows, kind: "window" };
      const cells = { weight: [], dweight: [], x: [], dx: [], y: [], dy: [], again: [] };
      const mark = (name, index) => cells[name].push({ ...maps[name].plane.find(index), kind: "window" });
      if (kind === "weight") {
        for (const name of ["x", "again"]) if (maps[name].plane.find([n, d])) mark(name, [n, d]);
        for (const name of ["y", "dy"]) if (maps[name].plane.find([n, index[0]])) mark(name, [n, index[0]]);
      } else if (kind === "dx" || kind === "x") {
        cells.weight.push(onColumn(maps.weight, maps.x.plane.find([n, d])));
        cells.dy.push({ row: 0, column: 0, rows: maps.dy.plane.rows, kind: "window" });
      } else {
        const map = kind === "dy" ? "dweight" : "weight";
        cells[map].push(onRow(maps[map], maps.y.plane.find([n, k])));
        cells[kind === "dy" ? "again" : "x"].push({ row: 0, column: 0, columns: maps.x.plane.columns, kind: "window" });
      }
      const on = {
        weight: ["weight", "dweight"],
        dx: ["x", "dx", "again"],
        x: ["x", "dx", "again"],
        dy: ["y", "dy"],
        y: ["y", "dy"],
      };
      for (const [name, map] of Object.entries(maps)) {
        map.mark(cells[name]);
        map.show(on[kind].includes(name) ? map.plane.find(index) : null);
      }
      told.show(said, content);
    }

    function ofWeight(k, d) {
      const result = sums.weightGradient(k, d);
      const inArray = layer.grads.weight.get(k, d);
      const several = layer.x.shape[0] > 1;
      return {
        said: `The gradient of weight ${k}, ${d} is ${number(inArray)}.`,
        content: [
          h("h2", {}, "One weight"),
          h(
            "p",
            {},
            `The weight between input ${d} and output ${k} is `,
            M.num(layer.params.weight.get(k, d)),
            ". In this image it met x = ",
            M.num(layer.x.get(n, d)),
            " on the way up and dy = ",
            M.num(layer.dy.get(n, k)),
            " on the way back.",
          ),
          M.asked(
            {
              ask: several ? `What is dy · x for image ${n}?` : "What is its gradient?",
              answer: layer.dy.get(n, k) * layer.x.get(n, d),
              why: "It is dy times x.",
            },
            () =>
              h(
                "div",
                {},
                formula(
                  "the outer product",
                  indexed("dweight", "k", "d"),
                  "=",
                  several ? sum("n") : null,
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
                  sums: [{ way: "weight", label: several ? `sum over ${layer.x.shape[0]} images` : "dy · x", result }],
                }),
                M.products({
                  terms: result.terms,
                  columns: [
                    { head: "image n", of: (term) => String(term.n) },
                    { head: "dy", of: (term) => term.dy },
                    { head: "x", of: (term) => term.x },
                  ],
                }),
              ),
          ),
        ],
      };
    }

    function ofInput(d) {
      const result = sums.input(n, d);
      const inArray = layer.dx.get(n, d);
      return {
        said: `dx of input ${d} is ${number(inArray)}, the sum of ${result.terms.length} products.`,
        content: [
          h("h2", {}, "What arrives at one input"),
          h(
            "p",
            {},
            `Input ${d} went into every output, each time through a weight of its own: the column outlined on weight. ` +
              "What it is worth is the sum of what its outputs are worth, each times that weight.",
          ),
          M.asked(
            {
              ask: "How many products are added up?",
              answer: result.terms.length + result.missing,
              whole: true,
              why: "One for each output.",
            },
            () =>
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
              ),
          ),
        ],
      };
    }

    function ofDy(k) {
      const from = layer.dy.get(n, k);
      const total = sums.biasGradient(k);
      return {
        said: `dy of output ${k} is ${number(from)}.`,
        content: [
          h("h2", {}, "What one cell of dy sends"),
          formula("the chosen cell", indexed("dy", n, k), "=", figure(from, true)),
          h(
            "p",
            {},
            "To every input it sends itself times the weight between them. To every weight of its row it sends itself " +
              "times x: that row of dweight is the whole input, made larger or smaller by this one number. The bias hears the " +
              "number itself.",
          ),
          layer.grads.bias
            ? M.result({
                name: `dbias[${k}]`,
                inArray: layer.grads.bias.get(k),
                sums: [{ way: "bias", label: "sum of dy over the images", result: total }],
              })
            : null,
        ],
      };
    }

    function ofOutput(k) {
      const result = sums.forward(n, k);
      return {
        said: `Output ${k} is ${number(layer.y.get(n, k))}.`,
        content: [
          h("h2", {}, "How one output was made"),
          formula(
            "filled in",
            indexed("y", n, k),
            "=",
            layer.params.bias ? [result.bias, "+"] : null,
            filledIn(result.terms, ["weight", "x"]),
            "=",
            figure(result.sum, true),
          ),
          M.result({
            name: `y[${n}, ${k}]`,
            inArray: layer.y.get(n, k),
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
            columns: [
              { head: "input d", of: (term) => String(term.d) },
              { head: "weight", of: (term) => term.weight },
              { head: "x", of: (term) => term.x },
            ],
          }),
        ],
      };
    }

    const blockChooser = (key, label, list) =>
      list.length > 1
        ? M.chooser({
            name: key,
            label,
            value: chosen[key],
            options: list.map((block, value) => ({ value, text: `${block[0]} … ${block.at(-1)}` })),
            onchange: (value) => {
              chosen[key] = value;
              build();
            },
          })
        : null;
    build();
    return M.layerView(
      layer,
      STORY,
      h("div", { class: "controls" }, blockChooser("d", "inputs", blocks[1]), blockChooser("k", "outputs", blocks[0])),
      body,
    );
  }

  const inBlocks = (indices, length) =>
    M.range(Math.ceil(indices.length / length)).map((block) => indices.slice(block * length, (block + 1) * length));

  M.linearView = linearView;
})();
