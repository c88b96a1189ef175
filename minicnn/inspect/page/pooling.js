/* The view of a pooling layer: its windows on the map, who won them, and what they pay into a cell of dx.

   The windows are those that the framework used, from the record; nothing here works out where they lie. The
   description of a cell stands in pooling_cell.js. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const MANY = 400; // outlines; more of them would only hide the map

  const STORIES = {
    max:
      "Each output is the largest cell of its window. Nobody else had a say in it, so in backward the winner " +
      "gets all of dy and the others get nothing. A cell that won several windows gets the sum.",
    avg:
      "Each output is the mean of its window. Every cell had the same small share in it, so in backward each " +
      "gets the same share of dy. A cell that lies in several windows gets the sum.",
  };

  function poolingView(layer) {
    const sums = M.sumsOf(layer);
    const { rows, columns, kind, adaptive } = layer.extra;
    const chosen = { n: M.state.image, c: layer.x.kept(1)[0] };
    const panel = M.panel();
    const body = h("div", { class: "maps-and-panel" });
    let maps = {};
    let picked = null; // {what, at}: "window" or "cell", and the true row and column
    let answer = null; // its description

    function build() {
      const { n, c } = chosen;
      const onforward = (index) => describe("cell", index.slice(-2));
      const ofOutput = (index) => describe("window", index.slice(-2));
      const [x, dx] = M.inputMaps(layer, { n, c, onforward, onbackward: onforward });
      const [y, dy] = M.outputMaps(layer, { n, c, onforward: ofOutput, onbackward: ofOutput });
      maps = { x, dx, y, dy };
      body.replaceChildren(
        M.sides(
          [
            [x, dx],
            [y, dy],
          ].map((pair) => pair.map((map) => map.element)),
        ),
        panel.element,
      );
      describe(picked?.what ?? "window", picked?.at ?? M.strongest(dy.plane).slice(-2));
    }

    /** What the words come from, and where the marks go. */
    const view = {
      layer,
      sums,
      chosen,
      windowMark: (p, q, look, inset = 0) => {
        const place = maps.x.plane.rectangle(rows[p].slice(0, 2), columns[q].slice(0, 2));
        return place && { ...place, kind: look, inset };
      },
      winnerMark: (cell) => {
        const place = cell && maps.x.plane.place(cell.r, cell.s);
        return place && { ...place, kind: "winner" };
      },
      outputMark: (p, q) => {
        const place = maps.dy.plane.place(p, q);
        return place && { ...place, kind: "window" };
      },
      /** The description that follows a question, together with what it had to hide. */
      revealing: (make) => () => {
        if (M.state.asking) outline(true);
        return make();
      },
    };

    /** All windows in outline, each second one drawn a little smaller, so that overlaps can be seen. */
    function everyWindow() {
      if (rows.length * columns.length > MANY) return [];
      return d3.cross(M.range(rows.length), M.range(columns.length), (p, q) =>
        view.windowMark(p, q, "thin", 0.5 + 2 * ((p + q) % 2)),
      );
    }

    function winners() {
      const { n, c } = chosen;
      const places = d3.cross(layer.y.kept(2), layer.y.kept(3));
      return places.length > MANY ? [] : places.map(([p, q]) => view.winnerMark(sums.winner(n, c, p, q)));
    }

    function describe(what, at) {
      picked = { what, at };
      answer = (what === "cell" ? M.poolingCell : M.poolingWindow)(view, at);
      const asks = panel.show(answer.said, answer.content);
      outline(!asks);
    }

    /** The windows, who won them, and the picked one; without the winners and dx while a question asks for them. */
    function outline(all) {
      const onInput = [...everyWindow(), ...(kind === "max" ? winners() : []), ...answer.marks.x];
      for (const map of [maps.x, maps.dx]) map.mark(onInput.filter((mark) => all || mark?.kind !== "winner"));
      for (const map of [maps.y, maps.dy]) map.mark(all ? answer.marks.y : []);
      for (const [name, map] of Object.entries(maps)) {
        map.show(answer.on.includes(name) ? map.plane.place(...picked.at) : null);
      }
      maps.dx.hide(!all);
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
