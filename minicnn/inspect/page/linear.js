/* The view of a linear layer: the gradient of its weights as the outer product of dy and x.

   x lies above the matrix and dy beside it, cell by cell in line. The description of a cell stands in linear_cell.js. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const BLOCK = { outputs: 24, inputs: 32 }; // rows and columns of a matrix that are shown at a time
  const SUMMARY =
    "Every output is a weighted sum of all inputs. So each weight belongs to one input and one output, and its " +
    "gradient is the product of the two numbers that it met: dy of its output and x of its input. All of them " +
    "together are the outer product of dy and x, one such table for each image, added up.";

  const DESCRIBE = { weight: M.linearWeight, x: M.linearInput, dx: M.linearInput, y: M.linearOutput, dy: M.linearSent };

  function linearView(layer) {
    const n = M.state.image;
    const view = { layer, n, sums: M.sumsOf(layer), revealing };
    const blocks = {
      outputs: inBlocks(layer.y.kept(1), BLOCK.outputs),
      inputs: inBlocks(layer.x.kept(1), BLOCK.inputs),
    };
    const chosen = { outputs: 0, inputs: 0 };
    const panel = M.panel();
    const body = h("div", { class: "maps-and-panel below" });
    let maps = {};
    let picked = null; // {kind, index}

    function build() {
      const outputs = blocks.outputs[chosen.outputs];
      const inputs = blocks.inputs[chosen.inputs];
      const on = (kind) => (index) => describe(kind, index);

      const matrix = (role, array, kind, about) =>
        M.map({
          role,
          name: role,
          about,
          onpick: on("weight"),
          cellLimit: 26,
          plane: M.planes.image(array, [], [outputs, inputs]),
          scale: M.scale(kind, M.reach(array)),
        });
      const weight = matrix("weight", layer.params.weight, "weight", "a row for each output");
      const dweight = matrix("dweight", layer.grads.weight, "gradient", "each cell is its dy times its x");

      const above = (role, tensor, kind, about, leader) =>
        M.map({
          role,
          name: role.replace("-again", ""),
          about,
          leader,
          onpick: on(role.replace("-again", "")),
          plane: M.planes.vector(kind === "value" ? tensor.value : tensor.gradient, [n], Infinity, inputs),
          scale: M.scaleOf(tensor, kind),
        });
      const beside = (role, tensor, kind, leader) =>
        M.map({
          role,
          name: role,
          about: "",
          leader,
          onpick: on(role),
          plane: M.planes.column(kind === "value" ? tensor.value : tensor.gradient, [n], outputs),
          scale: M.scaleOf(tensor, kind),
        });
      maps = {
        weight,
        dweight,
        x: above("x", layer.input, "value", "input", weight),
        y: beside("y", layer.output, "value", weight),
        again: above("x-again", layer.input, "value", "input, once more", dweight),
        dy: beside("dy", layer.output, "gradient", dweight),
        dx: above("dx", layer.input, "gradient", "gradient of the input", dweight),
      };
      body.replaceChildren(
        M.sides([[crossed(maps.x, maps.y, weight), crossed(maps.again, maps.dy, dweight, maps.dx)]]),
        panel.element,
      );
      describe(picked?.kind ?? "weight", picked?.index ?? M.strongest(dweight.plane));
    }

    const crossed = (top, side, middle, below) =>
      h(
        "div",
        { class: "crossed" },
        h("div", { class: "crossed-row" }, top.element),
        side.element,
        middle.element,
        below ? h("div", { class: "crossed-row" }, below.element) : null,
      );

    function describe(kind, index) {
      picked = { kind, index };
      const { on, cells, rows, columns, said, content, secret } = DESCRIBE[kind](view, index);
      for (const [name, map] of Object.entries(maps)) {
        const all = { row: 0, column: 0, rows: map.plane.rows, columns: map.plane.columns, kind: "window" };
        const marks = [];
        // A cell that lies in another block is not on the map.
        if (cells?.[name]) marks.push({ ...map.plane.find(cells[name]), kind: "window" });
        if (rows?.[name] !== undefined)
          marks.push({ ...all, ...maps.y.plane.find([n, rows[name]]), column: 0, rows: 1 });
        if (columns?.[name] !== undefined)
          marks.push({ ...all, ...maps.x.plane.find([n, columns[name]]), row: 0, columns: 1 });
        map.mark(marks.filter((mark) => mark.row !== undefined));
        map.show(on.includes(name) ? map.plane.find(index) : null);
      }
      const asks = panel.show(said, content);
      for (const [name, map] of Object.entries(maps)) map.hide(asks && name === secret);
    }

    /** The description that follows a question, together with the map that had to be hidden. */
    function revealing(make) {
      return () => {
        for (const map of Object.values(maps)) map.hide(false);
        return make();
      };
    }

    const blockChooser = (name) =>
      blocks[name].length > 1
        ? M.chooser({
            name,
            label: name,
            value: chosen[name],
            options: blocks[name].map((block, value) => ({ value, text: `${block[0]} to ${block.at(-1)}` })),
            onchange: (value) => {
              chosen[name] = value;
              picked = null;
              build();
            },
          })
        : null;
    build();
    return M.layerView(
      layer,
      SUMMARY,
      h("div", { class: "controls" }, blockChooser("inputs"), blockChooser("outputs")),
      body,
    );
  }

  const inBlocks = (indices, length) =>
    M.range(Math.ceil(indices.length / length)).map((block) => indices.slice(block * length, (block + 1) * length));

  M.linearView = linearView;
})();
