/* The view of a pooling layer: its windows on the map, who won them, and what they pay into a cell of dx.

   The windows are those that the framework used, from the record; nothing here works out where they lie. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, fraction, letter } = M.formulas;
  const MANY = 400; // outlines; more of them would only hide the map
  const PATCH = 10; // rows and columns of a question

  const STORIES = {
    max:
      "Each output is the largest cell of its window. Nobody else had a say in it, so in backward the winner gets all " +
      "of dy and the others get nothing. A cell that won several windows gets the sum.",
    avg:
      "Each output is the mean of its window. Every cell had the same small share in it, so in backward each gets the " +
      "same share of dy. A cell that lies in several windows gets the sum.",
  };

  function poolingView(layer) {
    const sums = M.sumsOf(layer);
    const { rows, columns, kind, adaptive } = layer.extra;
    const chosen = { n: M.state.image, c: layer.x.kept(1)[0] };
    const told = M.panel();
    const body = h("div", { class: "maps-and-panel" });
    let maps = {};
    let picked = null;

    const windowAt = (p, q, look, inset = 0) => {
      const place = maps.x.plane.rectangle(rows[p].slice(0, 2), columns[q].slice(0, 2));
      return place && { ...place, kind: look, inset };
    };

    /** All windows in outline, each second one drawn a little smaller, so that overlaps can be told apart. */
    function everyWindow() {
      if (rows.length * columns.length > MANY) return [];
      return d3.cross(M.range(rows.length), M.range(columns.length), (p, q) =>
        windowAt(p, q, "part", 1 + 2 * ((p + q) % 2)),
      );
    }

    function winners() {
      if (kind !== "max") return [];
      const { n, c } = chosen;
      const all = d3.cross(layer.y.kept(2), layer.y.kept(3), (p, q) => sums.winner(n, c, p, q));
      return all.length > MANY ? [] : all.map((cell) => winnerMark(cell));
    }

    const winnerMark = (cell) => {
      const place = cell && maps.x.plane.place(cell.r, cell.s);
      return place && { ...place, kind: "winner" };
    };

    function build() {
      const { n, c } = chosen;
      const ofInput = (index) => tell("input", index.slice(-2));
      const ofOutput = (index) => tell("output", index.slice(-2));
      const [x, dx] = M.inputMaps(layer, { n, c, onforward: ofInput, onbackward: ofInput });
      const [y, dy] = M.outputMaps(layer, { n, c, onforward: ofOutput, onbackward: ofOutput });
      maps = { x, dx, y, dy };
      body.replaceChildren(
        M.sides([
          [x.element, dx.element],
          [y.element, dy.element],
        ]),
        told.element,
      );
      if (picked) tell(picked.what, picked.at);
      else tell("output", [layer.y.kept(2)[0], layer.y.kept(3)[0]]);
    }

    function tell(what, at) {
      picked = { what, at };
      const answer = what === "input" ? ofCell(...at) : ofWindow(...at);
      const base = [...everyWindow(), ...winners()];
      maps.x.mark([...base, ...(answer.marks.x ?? [])]);
      maps.dx.mark([...base, ...(answer.marks.x ?? [])]);
      for (const map of [maps.y, maps.dy]) map.mark(answer.marks.y ?? []);
      for (const [name, map] of Object.entries(maps)) {
        map.show(answer.on.includes(name) ? map.plane.place(...at) : null);
        map.hide(M.state.asking && name === "dx");
      }
      told.show(answer.said, answer.content);
    }

    /** After an answer the map of dx may be seen. */
    const revealing = (make) => () => {
      maps.dx.hide(false);
      return make();
    };

    const strips = (p, q) => [
      M.windowStrip({
        windows: rows,
        size: layer.x.shape[2],
        label: `rows: ${layer.x.shape[2]} cells in ${rows.length} windows`,
        chosen: p,
      }),
      M.windowStrip({
        windows: columns,
        size: layer.x.shape[3],
        label: `columns: ${layer.x.shape[3]} cells in ${columns.length} windows`,
        chosen: q,
      }),
    ];

    /** One cell of y or dy: its window. */
    function ofWindow(p, q) {
      const { n, c } = chosen;
      const from = layer.dy.get(n, c, p, q);
      const won = sums.winner(n, c, p, q);
      const [[top, bottom, highExtent], [left, right, wideExtent]] = [rows[p], columns[q]];
      const area = highExtent * wideExtent;
      const inside = (bottom - top) * (right - left);
      const told = () =>
        h(
          "div",
          {},
          kind === "max"
            ? [
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
                  `The winner is the cell at row ${won.r}, column ${won.s}, ringed on x`,
                  layer.x.kept(2).includes(won.r) && layer.x.kept(3).includes(won.s)
                    ? [": ", M.num(layer.x.get(n, c, won.r, won.s))]
                    : " (left out of this page)",
                  ". The other cells could have been a little larger or smaller, and y would be the same: their gradient is 0.",
                ),
              ]
            : [
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
                  inside < area
                    ? `; ${area - inside} of the ${area} that the mean was divided by lie in the padding.`
                    : ".",
                ),
              ],
          strips([p], [q]),
        );
      return {
        on: ["y", "dy"],
        marks: { x: [windowAt(p, q, "window"), winnerMark(won)] },
        said: `Window ${p}, ${q} holds rows ${top} to ${bottom - 1} and columns ${left} to ${right - 1}; its dy is ${number(from)}.`,
        content: [
          h("h2", {}, "One window"),
          h(
            "p",
            {},
            `Output (${p}, ${q}) looks at rows ${top} to ${bottom - 1} and columns ${left} to ${right - 1}. ` +
              "Its gradient is ",
            M.num(from),
            ". Who gets it?",
          ),
          M.asked(patch(p, q, won), revealing(told)),
        ],
      };
    }

    /** Which cells of dx does this window pay into? A patch of it, around the winner or the first corner. */
    function patch(p, q, won) {
      const [[top, bottom], [left, right]] = [rows[p], columns[q]];
      const around = won ?? { r: top, s: left };
      const cut = (centre, low, high, size) => {
        const start = Math.max(Math.min(Math.max(low - 1, centre - PATCH / 2), size - PATCH), 0);
        return [start, Math.min(start + PATCH, high + 1, size)];
      };
      const [[r0, r1], [s0, s1]] = [
        cut(around.r, top, bottom, layer.x.shape[2]),
        cut(around.s, left, right, layer.x.shape[3]),
      ];
      return {
        ask: `Which cells of dx get something of this dy? These are rows ${r0} to ${r1 - 1}, columns ${s0} to ${s1 - 1}.`,
        why:
          kind === "max"
            ? `The largest of the window is the cell at row ${won.r}, column ${won.s}; it alone made y.`
            : "Every cell of the window has its share in a mean, and no other cell has one.",
        rows: r1 - r0,
        columns: s1 - s0,
        name: (row, column) => `row ${r0 + row}, column ${s0 + column}`,
        truth: (row, column) =>
          kind === "max"
            ? r0 + row === won.r && s0 + column === won.s
            : r0 + row >= top && r0 + row < bottom && s0 + column >= left && s0 + column < right,
      };
    }

    /** One cell of x or dx: the windows that hold it, and what each pays. */
    function ofCell(r, s) {
      const { n, c } = chosen;
      const result = sums.input(n, c, r, s);
      const paying = result.terms.filter((term) => term.wins);
      const [holdingRows, holdingColumns] = [sums.holding(rows, r), sums.holding(columns, s)];
      const inArray = layer.dx.get(n, c, r, s);
      const told = () =>
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
            name: `dx[${n}, ${c}, ${r}, ${s}]`,
            inArray,
            sums: [{ way: "windows", label: `${paying.length} payment${paying.length === 1 ? "" : "s"}`, result }],
          }),
          M.products({
            terms: result.terms,
            columns: [
              { head: "window p, q", of: (term) => `${term.p}, ${term.q}` },
              { head: "rows", of: (term) => `${rows[term.p][0]}–${rows[term.p][1] - 1}` },
              { head: "columns", of: (term) => `${columns[term.q][0]}–${columns[term.q][1] - 1}` },
              ...(kind === "max"
                ? [{ head: "winner", of: (term) => (term.wins ? "this cell" : `${term.winner.r}, ${term.winner.s}`) }]
                : [{ head: "area", of: (term) => String(term.area) }]),
              { head: "dy", of: (term) => term.dy },
            ],
          }),
          strips(holdingRows, holdingColumns),
        );
      return {
        on: ["x", "dx"],
        marks: {
          x: result.terms.map((term) => windowAt(term.p, term.q, "window")),
          y: paying
            .map((term) => maps.dy.plane.place(term.p, term.q))
            .filter(Boolean)
            .map((at) => ({ ...at, kind: "window" })),
        },
        said:
          `dx at row ${r}, column ${s} is ${number(inArray)}: ${result.terms.length} windows hold the cell and ` +
          `${paying.length} pay into it.`,
        content: [
          h("h2", {}, "What the windows pay into one cell"),
          h(
            "p",
            {},
            `The cell at row ${r}, column ${s} lies in ${holdingRows.length * holdingColumns.length} ` +
              `window${holdingRows.length * holdingColumns.length === 1 ? "" : "s"}.`,
          ),
          M.asked(
            {
              ask: "How many windows pay into it?",
              answer: paying.length,
              whole: true,
              why: kind === "max" ? "Only those pay that it won." : "Every window that holds it pays.",
            },
            revealing(told),
          ),
        ],
      };
    }

    build();
    return M.layerView(
      layer,
      STORIES[kind],
      h(
        "div",
        { class: "controls" },
        M.channelChooser("channel", "channel c", layer.x.kept(1), chosen.c, (c) => {
          chosen.c = c;
          build();
        }),
      ),
      body,
      adaptive ? M.playground() : null,
    );
  }

  M.poolingView = poolingView;
})();
