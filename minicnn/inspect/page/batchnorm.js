/* The view of batch normalisation: dx as the sum of three paths, training beside evaluation, x before and after.

   The sums for one cell stand in batchnorm_paths.js. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const SUMMARY =
    "Forward brings each channel to mean 0 and variance 1. In training the mean and the variance are made of x " +
    "itself, so a pixel reaches y by three paths: directly, through the mean, and through the variance. Each " +
    "path brings back a part of dx. In evaluation the statistics are constants, and only the direct path is left.";
  const MARGIN = 2; // cells to each side of the chosen one that a question shows

  function batchnormView(layer) {
    const sums = M.sumsOf(layer);
    const training = M.record.mode === "train";
    const chosen = { n: M.state.image, c: layer.x.kept(1)[0] };
    const panel = M.panel();
    const body = h("div", {});
    let maps = {};
    let at = null; // the true row and column of the picked cell

    function build() {
      const { n, c } = chosen;
      const onpick = (index) => describe(index.slice(-2));
      const [x, dx] = M.inputMaps(layer, { n, c, onforward: onpick, onbackward: onpick });
      const [y, dy] = M.outputMaps(layer, { n, c, onforward: onpick, onbackward: onpick });
      // One scale for the parts and for their sum, or they could not be compared.
      const scale = M.scale("gradient", d3.max([layer.dx, sums.evaluated, ...Object.values(sums.paths)], M.reach));
      const part = (role, name, about, array) =>
        M.map({ role, name, about, onpick, scale, plane: M.planeOf(array, n, c) });
      const parts = Object.entries(M.PATHS).map(([path, name]) => [
        path,
        part(`path-${path}`, name, "part of dx", sums.paths[path]),
      ]);
      // In evaluation mode dx is the direct path, and there is nothing to set beside it.
      const more = training ? [...parts, ["evaluation", part("eval-dx", "dx in evaluation", "", sums.evaluated)]] : [];
      maps = { x, dx, y, dy, ...Object.fromEntries(more) };
      body.replaceChildren(
        h(
          "div",
          { class: "maps-and-panel" },
          h(
            "div",
            {},
            M.sides(
              [
                [x, dx],
                [y, dy],
              ].map((pair) => pair.map((map) => map.element)),
            ),
            paths(more),
          ),
          panel.element,
        ),
        histograms(),
      );
      describe(at ?? M.strongest(dx.plane).slice(-2));
    }

    function paths(more) {
      return h(
        "section",
        {},
        h("h2", {}, training ? "Three paths, and evaluation beside them" : "Evaluation"),
        h(
          "p",
          {},
          training
            ? "The first three maps add up to dx, cell by cell. The last one is what dx would be in evaluation " +
                "mode, with the running statistics in place of the batch's."
            : "This page was recorded in evaluation mode: dx is the direct path alone. A page recorded in " +
                "training mode shows all three.",
        ),
        h(
          "div",
          { class: "paths" },
          more.map(([path, map]) => h("div", { class: `path path-${path}` }, map.element)),
        ),
      );
    }

    function describe(cell) {
      at = cell;
      const [r, s] = cell;
      const index = [chosen.n, chosen.c, r, s];
      for (const map of Object.values(maps)) map.show(map.plane.place(r, s));
      const inEvaluation = () => M.batchnormEvaluation(layer, sums, index);
      const asks = panel.show(
        `dx at row ${r}, column ${s} is ${number(layer.dx.get(...index))}.`,
        h("h2", {}, "One cell of dx"),
        training
          ? M.asked(reached(r, s), () =>
              h("div", {}, M.batchnormTraining(layer, sums, index, revealing), inEvaluation()),
            )
          : inEvaluation(),
      );
      maps.dx.hide(asks);
    }

    /** After an answer the map of dx may be seen. */
    const revealing = (make) => () => {
      maps.dx.hide(false);
      return make();
    };

    /** Whom does a single cell of dy reach? In training all of its channel, for all share the mean and the variance. */
    const reached = (r, s) =>
      M.patch({
        ask:
          `Suppose dy were 0 but for the cell at row ${r}, column ${s}. Which of the cells around it would get a ` +
          "dx that is not 0, in training?",
        why:
          "All of them, and all other cells of the channel in all images: each had its share in the mean and in the " +
          "variance that made this y. In evaluation it would be the one cell alone.",
        rows: [r - MARGIN, r + MARGIN + 1],
        columns: [s - MARGIN, s + MARGIN + 1],
        size: layer.x.shape.slice(2),
        truth: () => true,
      });

    /** The channel before and after, over all images that the page has. */
    function histograms() {
      const { c } = chosen;
      const cells = layer.x.kept(0).flatMap((n) => d3.cross(layer.x.kept(2), layer.x.kept(3), (r, s) => [n, c, r, s]));
      const of = (values, name) => {
        const mean = d3.mean(values);
        const deviation = Math.sqrt(d3.mean(values, (value) => (value - mean) ** 2)); // divided by n, as the layer does
        const caption = `${name}: mean ${M.short(mean)}, standard deviation ${M.short(deviation)}`;
        return M.charts.histogram({ caption, values, kind: "value" });
      };
      const [before, after] = [(cell) => layer.x.get(...cell), (cell) => sums.xHat(...cell)];
      return h(
        "section",
        {},
        h("h2", {}, "The channel before and after"),
        h(
          "div",
          { class: "charts" },
          of(cells.map(before), `x, channel ${c}`),
          of(cells.map(after), `x̂ = (x − mean) / √(var + eps), channel ${c}`),
        ),
        layer.x.whole ? null : M.absent("Of the cells that are in this page; the layer's statistics are those of all."),
      );
    }

    build();
    return M.layerView(
      layer,
      SUMMARY,
      h(
        "div",
        { class: "controls" },
        M.channelChooser("channel", "channel c", layer.x.kept(1), chosen.c, (c) => {
          chosen.c = c;
          build();
        }),
      ),
      body,
    );
  }

  M.batchnormView = batchnormView;
})();
