/* The frame of views in which each cell of the input belongs to one of the output; and the view of a layer that this
   page knows nothing about. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const itself = (index) => index;

  /** A view of x, dx, y and dy in which each cell of the input belongs to one of the output.

      describe(index, revealing): {said, content, secret} about a cell of the input, by its true indices. The maps named in
      secret would give the answer away; they are hidden until what stands within revealing(…) is shown.
      toOutput, toInput: from the indices of a cell of x to those of its cell of y, and back.
      between(n, c, onpick): maps to stand between input and output, with the output's cells. */
  function cellwise(layer, story, { describe, toOutput = itself, toInput = itself, between = () => [] }) {
    const channels = M.channelsOf(layer.x);
    const chosen = { n: M.state.image, c: channels[0] };
    const panel = M.panel();
    // Of vectors the maps are strips: the panel has more room below them than beside.
    const body = h("div", { class: `maps-and-panel ${channels.length ? "" : "below"}` });
    let picked = null;

    function build() {
      const { n, c } = chosen;
      const ofOutput = (index) => show(toInput(index));
      const [x, dx] = M.inputMaps(layer, { n, c, onforward: show, onbackward: show });
      const [y, dy] = M.outputMaps(layer, { n, c, onforward: ofOutput, onbackward: ofOutput });
      const middle = between(n, c, ofOutput);
      const maps = { x, dx, y, dy, ...Object.fromEntries(middle.map((map) => [map.element.dataset.map, map])) };
      const revealing = (make) => () => {
        for (const map of Object.values(maps)) map.hide(false);
        return make();
      };

      function show(index) {
        picked = index;
        for (const map of [x, dx]) map.show(map.plane.find(index));
        for (const map of [y, dy, ...middle]) map.show(map.plane.find(toOutput(index)));
        const { said, content, secret } = describe(index, revealing);
        const asks = panel.show(said, content);
        for (const name of secret) maps[name].hide(asks);
      }

      body.replaceChildren(
        M.sides([[x.element, dx.element], ...middle.map((map) => [map.element, null]), [y.element, dy.element]]),
        panel.element,
      );
      show(picked ? here(picked) : M.strongest(dx.plane));
    }

    /** The same place in the image and channel that are now chosen. */
    const here = (index) => (channels.length ? [chosen.n, chosen.c, ...index.slice(2)] : [chosen.n, ...index.slice(1)]);

    build();
    return M.layerView(
      layer,
      story,
      channels.length
        ? h(
            "div",
            { class: "controls" },
            M.channelChooser("channel", "channel c", channels, chosen.c, (c) => {
              chosen.c = c;
              build();
            }),
          )
        : null,
      body,
    );
  }

  /** Of a parameter with more than two axes only the last two are drawn, and where on the others is said. */
  const restOf = (array) =>
    array.shape.length > 2 ? `, of ${array.shape.join(" × ")} the part [${M.firstOf(array)}]` : "";

  /** A layer of the user's own: what went through it and what came back, without a story about it. */
  function plainView(layer) {
    const channels = [M.channelsOf(layer.x), M.channelsOf(layer.y)];
    const chosen = { n: M.state.image, c: channels[0][0], f: channels[1][0] };
    const body = h("div", {});
    function build() {
      const { n, c, f } = chosen;
      const elements = (maps) => maps.map((map) => map.element);
      body.replaceChildren(
        M.sides([
          elements(M.inputMaps(layer, { n, c })),
          ...Object.entries(layer.params).map(([key, array]) =>
            [array, layer.grads[key]].map((numbers, which) =>
              numbers
                ? M.map({
                    role: which ? `d${key}` : key,
                    name: which ? `d${key}` : key,
                    about: `${which ? "its gradient" : "parameter"}${restOf(numbers)}`,
                    plane: M.planeAt(numbers, M.firstOf(numbers)),
                    scale: M.scale(which ? "gradient" : "weight", M.reach(numbers)),
                  }).element
                : M.absent(`${key} got no gradient.`),
            ),
          ),
          elements(M.outputMaps(layer, { n, c: f })),
        ]),
      );
    }
    build();
    return M.layerView(
      layer,
      "This page knows nothing about the formulas of this layer; here is what went through it and what " + "came back.",
      M.channelChoosers(channels, chosen, build),
      body,
    );
  }

  Object.assign(M, { cellwise, plainView });
})();
