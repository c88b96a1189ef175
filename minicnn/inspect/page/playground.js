/* Windows along one axis, drawn under their cells: for a layer's own sizes, and for any that the reader tries. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const NUMBERED = 40; // cells that still have room for their numbers
  const PRESETS = [
    [10, 3],
    [14, 4],
    [5, 8],
  ];
  const LONGEST = 64;

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
        String(p),
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
        size <= NUMBERED ? String(at) : "",
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
        windowStrip({ windows, size: nIn, label: `${nIn} cells in ${nOut} windows` }),
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
    const { letter, formula, fraction } = M.formulas;
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
        rounded(
          "⌊",
          fraction(
            ["p", "·", "n_in"].map((text) => letter(text)),
            letter("n_out"),
          ),
          "⌋",
        ),
        ",",
        letter("stop"),
        "=",
        rounded(
          "⌈",
          fraction(
            ["(p + 1)", "·", "n_in"].map((text) => letter(text)),
            letter("n_out"),
          ),
          "⌉",
        ),
      ),
      h("div", { class: "controls" }, fields, h("div", { class: "buttons" }, PRESETS.map(preset))),
      shown,
    );
  }

  Object.assign(M, { windowStrip, playground });
})();
