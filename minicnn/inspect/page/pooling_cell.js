/* The description of a cell of a pooling's maps: which window an output had, and which windows pay into a cell. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, fraction, letter } = M.formulas;
  const PATCH = 10; // rows and columns of a question

  /** The windows of both axes, with those of the chosen cell in black. */
  function strips({ layer }, chosenRows, chosenColumns) {
    const { rows, columns } = layer.extra;
    const strip = (word, windows, size, chosen) =>
      M.windowStrip({ windows, size, chosen, label: `${word}: ${M.cellsInWindows(size, windows.length)}` });
    return [
      strip("rows", rows, layer.x.shape[2], chosenRows),
      strip("columns", columns, layer.x.shape[3], chosenColumns),
    ];
  }

  /** One cell of y or dy: its window, and who gets its gradient. */
  function poolingWindow(view, [p, q]) {
    const {
      layer,
      sums,
      chosen: { n, c },
    } = view;
    const { rows, columns, kind } = layer.extra;
    const from = layer.dy.get(n, c, p, q);
    const won = sums.winner(n, c, p, q);
    const [[top, bottom, highExtent], [left, right, wideExtent]] = [rows[p], columns[q]];
    const where = `rows ${top} to ${bottom - 1} and columns ${left} to ${right - 1}`;

    function toTheWinner() {
      const here = layer.x.kept(2).includes(won.r) && layer.x.kept(3).includes(won.s);
      return [
        formula(
          "what the winner gets",
          indexed("dx", n, c, won.r, won.s),
          "+=",
          indexed("dy", n, c, p, q),
          "=",
          figure(from, true),
        ),
        h(
          "p",
          {},
          `The winner is the cell at row ${won.r}, column ${won.s}, ringed on x: `,
          here ? M.num(layer.x.get(n, c, won.r, won.s)) : "left out of this page",
          ". The other cells could have been a little larger or smaller, and y would be the same: they get nothing.",
        ),
      ];
    }

    function toAll() {
      const [area, inside] = [highExtent * wideExtent, (bottom - top) * (right - left)];
      return [
        formula(
          "what each cell gets",
          indexed("dx", n, c, "r", "s"),
          "+=",
          fraction(indexed("dy", n, c, p, q), figure(area)),
          "=",
          fraction(figure(from, true), figure(area)),
          "=",
          figure(from / area, true),
        ),
        h(
          "p",
          {},
          `Each of the ${inside} cells of the window gets it`,
          inside < area ? `; ${area - inside} of the ${area} that the mean was divided by lie in the padding.` : ".",
        ),
      ];
    }

    const isHeard = (r, s) =>
      kind === "max" ? r === won.r && s === won.s : r >= top && r < bottom && s >= left && s < right;
    const around = (centre, low, high) => {
      const start = Math.max(low - 1, centre - PATCH / 2);
      return [start, Math.min(start + PATCH, high + 1)];
    };
    const corner = won ?? { r: top, s: left };
    const question = M.patch({
      ask: "Which cells of dx get something of this dy?",
      why:
        kind === "max"
          ? `The largest of the window is the cell at row ${won.r}, column ${won.s}; it alone made y.`
          : "Every cell of the window has its share in a mean, and no other cell has one.",
      rows: around(corner.r, top, bottom),
      columns: around(corner.s, left, right),
      size: layer.x.shape.slice(2),
      truth: isHeard,
    });

    return {
      on: ["y", "dy"],
      marks: { x: [view.windowMark(p, q, "window"), view.winnerMark(won)], y: [] },
      said: `Window ${p}, ${q} holds ${where}; its dy is ${number(from)}.`,
      content: [
        h("h2", {}, "One window"),
        h("p", {}, `Output (${p}, ${q}) looks at ${where}. Its gradient is `, M.num(from), ". Who gets it?"),
        M.asked(
          question,
          view.revealing(() => h("div", {}, kind === "max" ? toTheWinner() : toAll(), strips(view, [p], [q]))),
        ),
      ],
    };
  }

  /** One cell of x or dx: the windows that hold it, and what each pays. */
  function poolingCell(view, [r, s]) {
    const {
      layer,
      sums,
      chosen: { n, c },
    } = view;
    const { rows, columns, kind } = layer.extra;
    const result = sums.input(n, c, r, s);
    const paying = result.terms.filter((term) => term.wins);
    const [inRows, inColumns] = [sums.holding(rows, r), sums.holding(columns, s)];
    const holding = inRows.length * inColumns.length;
    const inArray = layer.dx.get(n, c, r, s);
    const name = `dx[${n}, ${c}, ${r}, ${s}]`;
    const cellsOf = ([start, stop]) => (stop - start === 1 ? String(start) : `${start}–${stop - 1}`);

    const whoGets =
      kind === "max"
        ? { head: "winner", of: ({ wins, winner }) => (wins ? "itself" : `${winner.r}, ${winner.s}`) }
        : { head: "area", of: ({ area }) => String(area) };
    const payments = () =>
      h(
        "div",
        {},
        formula(
          "what the windows pay",
          indexed("dx", n, c, r, s),
          "=",
          sum(kind === "max" ? "windows p, q that this cell won" : "windows p, q that hold it"),
          kind === "max" ? indexed("dy", n, c, "p", "q") : fraction(indexed("dy", n, c, "p", "q"), letter("area")),
          "=",
          figure(result.sum, true),
        ),
        M.result({
          name,
          inArray,
          sums: [{ way: "windows", label: `${paying.length} payment${paying.length === 1 ? "" : "s"}`, result }],
        }),
        M.products({
          terms: result.terms,
          word: "payment",
          columns: [
            { head: "window", of: ({ p, q }) => `${p}, ${q}` },
            { head: "rows", of: ({ p }) => cellsOf(rows[p]) },
            { head: "columns", of: ({ q }) => cellsOf(columns[q]) },
            whoGets,
            { head: "dy", of: ({ dy }) => dy },
          ],
        }),
        strips(view, inRows, inColumns),
      );

    return {
      on: ["x", "dx"],
      marks: {
        x: result.terms.map(({ p, q }) => view.windowMark(p, q, "window")),
        y: paying.map(({ p, q }) => view.outputMark(p, q)),
      },
      said:
        `dx at row ${r}, column ${s} is ${number(inArray)}: it lies in ${holding} window${holding === 1 ? "" : "s"}, ` +
        `of which ${paying.length} pay${paying.length === 1 ? "s" : ""} into it.`,
      content: [
        h("h2", {}, "What the windows pay into one cell"),
        h("p", {}, `The cell at row ${r}, column ${s} lies in ${holding} window${holding === 1 ? "" : "s"}.`),
        M.asked(
          {
            ask: "How many windows pay into it?",
            answer: paying.length,
            whole: true,
            why: kind === "max" ? "Only those pay that it won." : "Every window that holds it pays.",
          },
          view.revealing(payments),
        ),
      ],
    };
  }

  Object.assign(M, { poolingWindow, poolingCell });
})();
