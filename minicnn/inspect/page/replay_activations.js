/* The activations of the chosen image in the replay: some channels of every layer small, and one of them large. */

(() => {
  const M = window.MINICNN;
  const { h, planeAt, firstOf } = M;
  const { atStep, thumbnails, cellPanel } = M.replayParts;

  const hasMaps = (array) => array.shape.length >= 3;

  /** What went in: the same at every step. */
  function image(replay) {
    const array = atStep(replay.image, { frame: 0 });
    const scale = M.scale("value", array.reach);
    const small = (first, name) => M.thumbnail(planeAt(array, first), scale, name);
    return h(
      "div",
      { class: "flow-row" },
      h("span", { class: "layer-word" }, "the image", h("small", {}, array.shape.join(" × "))),
      h(
        "div",
        { class: "strip-maps" },
        hasMaps(array) ? array.kept(0).map((c) => small([c], `the image, channel ${c}`)) : small([], "the input"),
      ),
    );
  }

  function activations({ replay, now }) {
    const layers = replay.activation.map(({ name, value }) => {
      const array = atStep(value, now);
      return { name, array, scale: M.scale("value", array.reach), channels: hasMaps(array) ? array.kept(0) : [null] };
    });
    const plane = (array, c) => planeAt(array, hasMaps(array) ? [c, ...firstOf(array).slice(1)] : []);
    const large = h("div", { class: "maps-and-panel" });
    let [map, panel, picked] = [null, null, null];

    const strips = layers.map((layer) => {
      const strip = thumbnails({
        planes: layer.channels.map((c) => ({
          value: c,
          name: c === null ? layer.name : `${layer.name}, channel ${c}`,
          plane: plane(layer.array, c),
        })),
        scale: layer.scale,
        onpick: (c) => enlarge(layer, c),
      });
      strip.element.classList.toggle("long", !hasMaps(layer.array));
      return strip;
    });

    function enlarge(layer, c) {
      const { name, array, scale } = layer;
      picked = null;
      layers.forEach((other, at) => strips[at].choose(other === layer ? c : undefined));
      panel = cellPanel({
        name,
        numbers: (index) => [{ label: "the layer's output", value: array.get(...index), role: "activation" }],
        course: (index) => ({
          caption: "This output in the course of the run",
          unit: "output",
          values: array.course(index),
          kind: "value",
        }),
        now,
      });
      map = M.map({
        role: "replay-activation",
        name,
        about: c === null ? "output for the image" : `output for the image, channel ${c}`,
        plane: plane(array, c),
        scale,
        onpick: (index) => {
          picked = index;
          panel.pick(index);
        },
      });
      large.replaceChildren(map.element, panel.element);
    }

    const shown = layers.findLast(({ array }) => hasMaps(array) && array.shape.at(-1) > 1) ?? layers[0];
    enlarge(shown, shown.channels[0]);
    return {
      element: h(
        "div",
        { class: "replay-activations" },
        large,
        h(
          "div",
          { class: "flow" },
          image(replay),
          layers.map(({ name, array }, at) =>
            h(
              "div",
              { class: "flow-row", "data-replay-layer": name },
              h("span", { class: "layer-word" }, name, h("small", {}, array.shape.join(" × "))),
              strips[at].element,
            ),
          ),
        ),
      ),
      draw: () => {
        for (const strip of strips) strip.draw();
        map.draw();
        map.show(picked && map.plane.find(picked));
        panel.draw();
      },
    };
  }

  Object.assign(M, { replayActivations: activations });
})();
