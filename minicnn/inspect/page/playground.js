/* Windows along one axis, drawn under their cells: for a layer's own sizes, and for any that the reader tries. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const NARROWEST = 330; // pixels of a strip on a telephone
  const [LETTER, RIM] = [7, 4]; // pixels of a figure, and of what is around it
  const PRESETS = [
    [10, 3],
    [14, 4],
    [5, 8],
  ];
  const LONGEST = 64;

  const cellsInWindows = (nIn, nOut) => `${nIn} cell${nIn > 1 ? "s" : ""} in ${nOut} window${nOut > 1 ? "s" : ""}`;

  /** The number of a cell or window, where its text fits into so many of `size` cells; of cells every fifth or tenth
      may stand in the room of its neighbours. */
  const fits = (text, cells, size) => text.length * LETTER + RIM <= (cells * NARROWEST) / size;
  const cellNumber = (at, size) => {
    const every = [1, 5, 10].find((step) => fits(String(size - 1), step, size)) ?? size;
    return at % every === 0 ? String(at) : "";
  };

  /** The cells of an axis, and below them each window as a bar; in as many lanes as it takes for none to overlap. */
  function windowStrip({ windows, size, label, chosen = [] }) {
    const lanes = [];
    const bars = windows.map(([start, stop], p) => {
      const free = lanes.findIndex((end) => end <= start);
      const lane = free < 0 ? lanes.length : free;
      lanes[lane] = stop;
      return h(
        "span",
        {
          class: `window-bar ${chosen.includes(p) ? "chosen" : ""}`,
          "data-window": p,
          "data-start": start,
          "data-stop": stop,
          style: `grid-column: ${start + 1} / ${stop + 1}; grid-row: ${lane + 2}`,
        },
        fits(String(p), stop - start, size) ? String(p) : "",
      );
    });
    const holders = (at) => windows.filter(([start, stop]) => start <= at && at < stop).length;
    const cells = M.range(size).map((at) =>
      h(
        "span",
        {
          class: `strip-cell ${holders(at) > 1 ? "shared" : ""}`,
          style: `grid-column: ${at + 1}; grid-row: 1`,
        },
        cellNumber(at, size),
      ),
    );
    const said = windows.map(([start, stop], p) => `window ${p}: ${start} to ${stop - 1}`).join("; ");
    return h(
      "figure",
      { class: "window-strip" },
      h("figcaption", {}, label),
      h(
        "div",
        { class: "strip-grid", style: `--cells: ${size}`, role: "img", "aria-label": `${label}. ${said}.` },
        cells,
        bars,
      ),
    );
  }

  /** Any two sizes: the windows of adaptive pooling from `nIn` cells to `nOut`. */
  function playground() {
    const shown = h("div", { "aria-live": "polite" });
    const input = (id, label, value) =>
      h(
        "label",
        {},
        `${label} `,
        h("input", {
          type: "number",
          min: "1",
          max: String(LONGEST),
          value: String(value),
          "data-size": id,
          class: "typed",
          oninput: draw,
        }),
      );
    const [first, second] = PRESETS[0];
    const fields = [input("in", "cells in", first), input("out", "windows out", second)];
    const values = () => fields.map((field) => Number(field.querySelector("input").value));

    function draw() {
      const [nIn, nOut] = values();
      const possible = (n) => Number.isInteger(n) && n >= 1 && n <= LONGEST;
      if (!possible(nIn) || !possible(nOut)) {
        shown.replaceChildren(M.absent(`Two whole numbers from 1 to ${LONGEST}, please.`));
        return;
      }
      const windows = M.adaptiveWindows(nIn, nOut);
      const shared = M.range(nIn).filter((at) => windows.filter(([a, b]) => a <= at && at < b).length > 1);
      shown.replaceChildren(
        windowStrip({ windows, size: nIn, label: cellsInWindows(nIn, nOut) }),
        h(
          "p",
          {},
          shared.length
            ? `In more than one window: ${shared.join(", ")}. In backward each window pays into its cells, and where ` +
                "several pay, the payments add up."
            : "No cell lies in two windows: each gets at most one payment.",
        ),
      );
    }

    const preset = ([nIn, nOut]) =>
      h(
        "button",
        {
          type: "button",
          onclick: () => {
            fields.forEach((field, which) => {
              field.querySelector("input").value = String([nIn, nOut][which]);
            });
            draw();
          },
        },
        `${nIn} → ${nOut}`,
      );
    draw();
    const { letter, indexed, formula, fraction } = M.formulas;
    const share = (place) => fraction([letter(place), letter("·"), indexed("n", "in")], indexed("n", "out"));
    const rounded = (open, inside, close) => [open, inside, close];
    return h(
      "section",
      { class: "playground", "data-playground": "" },
      h("h2", {}, "Try other sizes"),
      h(
        "p",
        {},
        "Adaptive pooling makes any number of windows from any number of cells. Where the sizes do not divide, the " +
          "windows are uneven and overlap; where there are more windows than cells, cells are used twice.",
      ),
      formula(
        "the rule of the windows",
        letter("start"),
        "=",
        rounded("⌊", share("p"), "⌋"),
        ",",
        letter("stop"),
        "=",
        rounded("⌈", share("(p + 1)"), "⌉"),
      ),
      h("div", { class: "controls" }, fields, h("div", { class: "buttons" }, PRESETS.map(preset))),
      shown,
    );
  }

  Object.assign(M, { windowStrip, cellsInWindows, playground });
})();
