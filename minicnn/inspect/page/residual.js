/* The view of a residual: what its two ways make of x, and of dy, and that both are added up. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const STORY =
    "Two ways of one x are added up: y = f(x) + s(x). Backward each way is handed the whole dy, and what the two make of " +
    "it is added up as well: dx = f'(dy) + s'(dy). Cell by cell, the maps on either side of a sum add up to the third.";

  function residualView(layer) {
    const channels = [M.channelsOf(layer.x), M.channelsOf(layer.y)];
    const chosen = { n: M.state.image, c: channels[0][0], f: channels[1][0] };
    const body = h("div", {});
    const ways = Object.fromEntries(["f", "s", "df", "ds"].map((key) => [key, M.decode(layer.extra[key])]));

    function build() {
      const { n, c, f } = chosen;
      const wayMaps = (way, name) =>
        [
          [way, `${way}(x)`, name, f, "value"],
          [`d${way}`, `${way}'(dy)`, "its part of dx", c, "gradient"],
        ].map(
          ([key, label, about, channel, kind]) =>
            M.map({
              role: key,
              name: label,
              about,
              plane: M.planeOf(ways[key], n, channel),
              scale: M.scale(kind, M.reach(ways[key])),
            }).element,
        );
      const elements = (maps) => maps.map((map) => map.element);
      body.replaceChildren(
        M.sides([
          elements(M.inputMaps(layer, { n, c })),
          wayMaps("f", "its layers"),
          wayMaps("s", "its shortcut"),
          elements(M.outputMaps(layer, { n, c: f })),
        ]),
      );
    }

    build();
    return M.layerView(layer, STORY, M.channelChoosers(channels, chosen, build), body);
  }

  M.residualView = residualView;
})();
