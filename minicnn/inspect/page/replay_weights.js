/* A parameter in the replay: the weight W, its gradient G and its update U, side by side. */

(() => {
  const M = window.MINICNN;
  const { h, planeAt, firstOf } = M;
  const { atStep, thumbnails, cellPanel } = M.replayParts;
  const KINDS = [
    { kind: "weight", letter: "W", about: "weight before the step", colours: "weight" },
    { kind: "gradient", letter: "G", about: "gradient of the loss", colours: "gradient" },
    { kind: "update", letter: "U", about: "what the step adds to W", colours: "weight" },
  ];
  const ASIDE =
    "U is what the weight really changed by. Momentum, Adam's scaling and weight decay make it differ from −lr · G; " +
    "clipping does not, for G is the gradient that the optimiser was given.";

  function parameter({ name, replay, now }) {
    const arrays = Object.fromEntries(KINDS.map(({ kind }) => [kind, atStep(replay[kind][name], now)]));
    const scaleOf = Object.fromEntries(KINDS.map(({ kind, colours }) => [kind, M.scale(colours, arrays[kind].reach)]));
    const { weight, gradient, update } = arrays;
    const hasFilters = weight.shape.length === 4;
    const first = firstOf(weight); // of filters: which filter, and which input channel

    const panel = cellPanel({
      name,
      numbers: (index) => [
        { label: "W, before the step", value: weight.get(...index), role: "weight" },
        { label: "G, its gradient", value: gradient.get(...index), role: "gradient" },
        { label: "U, what the step added", value: update.get(...index), role: "update" },
        { label: "−lr · G, what plain SGD would add", value: -now.lr * gradient.get(...index), role: "plain" },
      ],
      course: (index) => ({
        caption: "W in the course of the run",
        unit: "W",
        values: weight.course(index),
        kind: "weight",
      }),
      aside: ASIDE,
      now,
    });

    const place = h("div", { class: "three-maps" });
    const stripsPlace = h("div", { class: "flow" });
    let [maps, strips, picked] = [[], [], null];

    function buildMaps() {
      maps = KINDS.map(({ kind, letter, about }) =>
        M.map({
          role: `replay-${kind}`,
          name: letter,
          about,
          plane: planeAt(arrays[kind], first),
          scale: scaleOf[kind],
          onpick: (index) => {
            picked = index;
            showPicked();
            panel.pick(index);
          },
        }),
      );
      place.replaceChildren(...maps.map((map) => map.element));
      showPicked();
    }

    /** Draw the maps, and in all three mark and read the picked cell. */
    function showPicked() {
      for (const map of maps) {
        map.draw();
        map.show(picked && map.plane.find(picked));
      }
    }

    function buildStrips() {
      const filters = weight.kept(0);
      strips = KINDS.map(({ kind }) =>
        thumbnails({
          planes: filters.map((f) => ({
            value: f,
            name: `${kind} of filter ${f}`,
            plane: planeAt(arrays[kind], [f, first[1]]),
          })),
          scale: scaleOf[kind],
          chosen: first[0],
          onpick: (f) => {
            first[0] = f;
            for (const strip of strips) strip.choose(f);
            buildMaps();
          },
        }),
      );
      stripsPlace.replaceChildren(
        ...KINDS.map(({ kind, letter, colours }, at) =>
          h(
            "div",
            { class: "flow-row" },
            h("span", { class: `flow-word letter-${colours}` }, `${kind} ${letter}`),
            strips[at].element,
          ),
        ),
        ...(filters.length < weight.shape[0]
          ? [M.absent(`In this page: ${filters.length} of ${weight.shape[0]} filters.`)]
          : []),
      );
    }

    const channels =
      hasFilters && weight.kept(1).length > 1
        ? h(
            "div",
            { class: "controls" },
            M.channelChooser("replay-channel", "input channel", weight.kept(1), first[1], (c) => {
              first[1] = c;
              buildStrips();
              buildMaps();
            }),
          )
        : null;
    if (hasFilters) buildStrips();
    buildMaps();
    return {
      element: h(
        "div",
        {},
        channels,
        hasFilters ? stripsPlace : null,
        h("div", { class: "maps-and-panel" }, place, panel.element),
      ),
      draw: () => {
        for (const strip of strips) strip.draw();
        showPicked();
        panel.draw();
      },
    };
  }

  Object.assign(M, { replayParameter: parameter });
})();
