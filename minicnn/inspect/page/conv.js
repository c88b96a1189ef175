/* The view of a convolution: six maps, forward beside backward, and what the page says of a picked cell of any.

   The description of a cell of dy, of dx, of the weights and of y stands in conv_scatter.js, conv_gather.js and
   conv_weight.js. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const SUMMARY =
    "Each output is a weighted sum of a small window of the input. Read backwards, every one of its " +
    "products sends two messages: to the pixel, “you were multiplied by this weight”, and to the weight, “you were " +
    "multiplied by this pixel”. All of backward is these messages, added up where they arrive.";

  const DESCRIBE = { dy: M.convScatter, dx: M.convGather, weight: M.convWeight, y: M.convForward };
  const STARTS_ON = { dy: "dy", dx: "dx", weight: "dweight", y: "y" };

  function convView(layer) {
    const chosen = { n: M.state.image, c: layer.x.kept(1)[0], f: layer.y.kept(1)[0], way: "scatter" };
    const view = { layer, sums: M.sumsOf(layer), chosen, revealing };
    const panel = M.panel();
    const look = h("div", {});
    const body = h("div", { class: "maps-and-panel" });
    let maps = {};
    let picked = null; // {kind, at}: which map, and the true row and column
    let answer = null; // its description

    /** All that hangs on the image, the channel or the filter. */
    function build() {
      const { n, c, f } = chosen;
      const pad = layer.extra.padding;
      const on = (kind) => (index) => choose(kind, index.slice(-2));
      const [x, dx] = M.inputMaps(layer, { n, c, pad, onforward: on("dx"), onbackward: on("dx") });
      const [y, dy] = M.outputMaps(layer, { n, c: f, onforward: on("y"), onbackward: on("dy") });
      const [weight, dweight] = kernelMaps(layer, f, c, on("weight"));
      maps = { x, dx, weight, dweight, y, dy };
      const element = (map) => map?.element ?? M.absent("This map is not in the page.");
      body.replaceChildren(
        M.sides(
          [
            [x, dx],
            [weight, dweight],
            [y, dy],
          ].map((pair) => pair.map(element)),
        ),
        h("div", {}, look, panel.element),
      );
      look.replaceChildren(questions());
      if (picked) choose(picked.kind, picked.at);
      else start("dy");
    }

    function choose(kind, at) {
      picked = { kind, at };
      answer = DESCRIBE[kind](view, at);
      look.querySelector(`[value="${kind}"]`).checked = true;
      const asks = panel.show(answer.said, answer.content);
      outline(!asks);
    }

    /** The picked cell on its maps, and what it has to do with; the latter would give the answer to a question away. */
    function outline(all) {
      for (const [name, map] of Object.entries(maps)) {
        const marks = all ? (answer.marks[name] ?? []) : [];
        map?.mark(
          marks.map(({ rows, columns, kind }) => {
            const place = map.plane.rectangle(rows, columns);
            return place && { ...place, kind };
          }),
        );
        map?.show(answer.on.includes(name) ? map.plane.place(...picked.at) : null);
      }
    }

    /** The questions that can be asked about the maps: one at a time. */
    const questions = () =>
      M.choice({
        legend: "Look at",
        name: "pick",
        value: picked?.kind,
        onchange: start,
        options: [
          { value: "dy", text: "one dy: what it sends" },
          { value: "dx", text: "one dx: what arrives" },
          { value: "weight", text: "one weight" },
          { value: "y", text: "one y, forward" },
        ].filter(({ value }) => maps[STARTS_ON[value]]),
      });

    /** Begin with a cell whose numbers can be seen: the strongest on the map. */
    function start(kind) {
      choose(kind, M.strongest(maps[STARTS_ON[kind]].plane).slice(-2));
    }

    const change = (name) => (value) => {
      chosen[name] = value;
      build();
    };

    /** The description that follows a question, together with the outlines that the question had to do without. */
    function revealing(make) {
      return () => {
        if (M.state.asking) outline(true);
        return make();
      };
    }

    build();
    const { kernel_size: kernel, stride, padding } = layer.extra;
    return M.layerView(
      layer,
      SUMMARY,
      h(
        "div",
        { class: "controls" },
        M.channelChooser("channel", "input channel c", layer.x.kept(1), chosen.c, change("c")),
        M.channelChooser("filter", "filter f", layer.y.kept(1), chosen.f, change("f")),
        h(
          "p",
          { class: "shape" },
          `kernel ${kernel.join(" × ")}, stride ${stride.join(" × ")}, ` + `padding ${padding.join(" × ")}`,
        ),
      ),
      body,
    );
  }

  /** The kernel of one filter for one channel, and its gradient; null where the page does not have them. */
  function kernelMaps({ params, grads }, f, c, onpick) {
    const about = `filter ${f}, channel ${c}`;
    const of = (array, role, kind, what) =>
      array && array.kept(0).includes(f) && array.kept(1).includes(c)
        ? M.map({
            role,
            name: role,
            about: what,
            onpick,
            plane: M.planes.image(array, [f, c]),
            scale: M.scale(kind, M.reach(array)),
          })
        : null;
    return [of(params.weight, "weight", "weight", about), of(grads.weight, "dweight", "gradient", "its gradient")];
  }

  M.convView = convView;
})();
