/* The view of a dropout: the mask that x and dy are multiplied by. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, formula } = M.formulas;
  const STORY =
    "In training a random part of the numbers is left out, and the others are made larger so that the mean stays: " +
    "y = x · mask. Backward has the same mask, dx = dy · mask: what was left out changes nothing. In evaluation the " +
    "mask is 1 everywhere.";

  function dropoutView(layer) {
    const mask = M.decode(layer.extra.mask);

    const between = (n, c, onpick) => [
      M.map({
        role: "mask",
        name: "mask",
        about: "0 where a number is left out",
        onpick,
        plane: M.planeOf(mask, n, c),
        scale: M.scale("weight", M.reach(mask)),
      }),
    ];

    function describe(index) {
      const [factor, x, y] = [mask, layer.x, layer.y].map((array) => array.get(...index));
      const product = (to, from, array) =>
        formula(
          `${to} at the chosen cell`,
          indexed(to, ...index),
          "=",
          indexed(from, ...index),
          "·",
          figure(factor),
          "=",
          figure(array.get(...index), true),
        );
      return {
        secret: [],
        said: `The mask is ${number(factor)}: of x, which is ${number(x)}, it makes ${number(y)}.`,
        content: [h("h2", {}, "One cell"), product("y", "x", layer.y), product("dx", "dy", layer.dx)],
      };
    }

    return M.cellwise(layer, STORY, { describe, between });
  }

  M.dropoutView = dropoutView;
})();
