/* The view of ReLU: the mask that dy passes or does not. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, formula, letter } = M.formulas;
  const PATCH = 6; // rows and columns of a question

  function reluView(layer) {
    const sums = M.sumsOf(layer);
    const story =
      "What is positive passes, what is not becomes 0. In backward dy passes at the same places and is stopped at " +
      "the others, so all that has to be kept is which places were open: the mask y > 0.";

    const mask = (n, c, onpick) => {
      const plane = M.planeOf(layer.y, n, c);
      const open = (row, column) => (plane.index(row, column) ? Number(plane.get(row, column) > 0) : undefined);
      return [
        M.map({
          role: "mask",
          name: "mask",
          about: "1 where y > 0",
          onpick,
          plane: { ...plane, get: open },
          scale: M.scale("weight", 1),
        }),
      ];
    };

    function describe(index, revealing) {
      const [value, from, inArray] = [layer.y.get(...index), layer.dy.get(...index), layer.dx.get(...index)];
      const result = sums.input(...index);
      const open = value > 0;
      const description = () =>
        h(
          "div",
          {},
          formula(
            "dx at the chosen cell",
            indexed("dx", ...index),
            "=",
            open ? indexed("dy", ...index) : figure(0),
            "=",
            figure(result.sum, true),
          ),
          M.result({
            name: `dx[${index.join(", ")}]`,
            inArray,
            sums: [{ way: "mask", label: open ? "y > 0: dy passes" : "y is 0: nothing passes", result }],
          }),
        );
      return {
        secret: ["dx", "mask"],
        said: `x is ${number(layer.x.get(...index))}, so y is ${number(value)} and dx is ${number(inArray)}.`,
        content: [
          h("h2", {}, "One cell"),
          formula(
            "forward at the chosen cell",
            indexed("y", ...index),
            "=",
            letter("max"),
            "(",
            figure(layer.x.get(...index), true),
            ",",
            figure(0),
            ")",
            "=",
            figure(value, true),
          ),
          h("p", {}, "Here dy is ", M.num(from), "."),
          layer.dead > 0
            ? h(
                "p",
                {},
                `${M.percent(layer.dead)} of the channels are dead: 0 in every cell of every image. Nothing ` +
                  "passes back through them, so what comes before cannot learn from this batch to wake them.",
              )
            : null,
          M.asked(reluPatch(index), revealing(description)),
        ],
      };
    }

    function reluPatch(index) {
      const plane = M.planeOf(layer.dx, index[0], index[1]);
      const at = plane.find(index);
      const from = (centre, size) => Math.max(0, Math.min(centre - PATCH / 2, size - PATCH));
      const [top, left] = [from(at.row, plane.rows), from(at.column, plane.columns)];
      const [rows, columns] = [Math.min(PATCH, plane.rows), Math.min(PATCH, plane.columns)];
      const name = (row, column) => {
        const [, ...cell] = plane.index(top + row, left + column) ?? [];
        return cell.length === 3 ? `row ${cell[1]}, column ${cell[2]}` : `cell ${cell.join(", ")}`;
      };
      return {
        ask:
          "Which of these cells of dx are not 0? Look at y and dy. They are those around the chosen cell, from " +
          `${name(0, 0)} to ${name(rows - 1, columns - 1)}.`,
        why: "Those where y is positive and dy is not 0.",
        rows,
        columns,
        name,
        truth: (row, column) =>
          Boolean(plane.index(top + row, left + column) && plane.get(top + row, left + column) !== 0),
      };
    }

    return M.cellwise(layer, story, { describe, between: mask });
  }

  M.reluView = reluView;
})();
