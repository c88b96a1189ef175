/* What belongs to a map beside its cells: outlines over them, the legend of the colours, buttons for fingers, and the
   same numbers as a table. */

(() => {
  const M = window.MINICNN;
  const { h, svg } = M;
  const TABLE_CELLS = 4096; // more than that nobody reads
  const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const WORDS = {
    ArrowLeft: ["←", "left"],
    ArrowUp: ["↑", "up"],
    ArrowDown: ["↓", "down"],
    ArrowRight: ["→", "right"],
  };

  function legend(scale) {
    const strip = h("span", { class: "strip", "aria-hidden": "true" });
    strip.redraw = () => {
      strip.style.background = scale.strip();
    };
    strip.redraw();
    const end = M.short(scale.max);
    return h(
      "span",
      { class: "legend", title: "the colours of the numbers" },
      h("span", {}, scale.max ? `−${end}` : ""),
      strip,
      h("span", {}, end),
    );
  }

  /** A mark as SVG: a light line under a dark one, so that it is seen on every colour. */
  function outline({ row, column, rows = 1, columns = 1, kind, inset = 0 }, cell, ring) {
    const box = {
      x: (column + ring[1]) * cell + inset,
      y: (row + ring[0]) * cell + inset,
      width: Math.max(columns * cell - 2 * inset, 0), // a cell may be smaller than the inset
      height: Math.max(rows * cell - 2 * inset, 0),
    };
    if (kind === "winner") {
      const circle = { cx: box.x + cell / 2, cy: box.y + cell / 2, r: Math.max(2, cell / 3.2) };
      return ["halo", "line"].map((layer) => svg("circle", { class: `mark mark-${kind} ${layer}`, ...circle }));
    }
    return ["halo", "line"].map((layer) => svg("rect", { class: `mark mark-${kind} ${layer}`, ...box }));
  }

  /** Buttons for fingers, which are wider than a cell; the style sheet shows them where they are needed. */
  const stepButtons = (name, step) =>
    h(
      "div",
      { class: "map-steps" },
      Object.entries(WORDS).map(([key, [sign, word]]) =>
        h(
          "button",
          { type: "button", "aria-label": `${name}: one cell ${word}`, onclick: () => step(ARROWS[key]) },
          sign,
        ),
      ),
    );

  /** Where the panel lies below the maps: a way down to it. */
  const toPanel = () =>
    h(
      "button",
      {
        type: "button",
        class: "to-panel",
        onclick: ({ currentTarget }) => {
          const panel = currentTarget.closest(".maps-and-panel").querySelector(".panel");
          panel.scrollIntoView();
          panel.focus({ preventScroll: true });
        },
      },
      "what it tells ↓",
    );

  /** The numbers of a plane as a table, written when it is opened. */
  function planeAsTable(plane, name, about) {
    const shown = Math.min(plane.rows, Math.ceil(TABLE_CELLS / plane.columns));
    const cell = (row, column) => h("td", {}, plane.index(row, column) ? M.num(plane.get(row, column)) : "");
    const line = (row) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, plane.rowName(row)),
        M.range(plane.columns).map((column) => cell(row, column)),
      );
    const details = h(
      "details",
      {
        class: "as-table",
        ontoggle: () => {
          if (!details.open || details.childElementCount > 1) return;
          details.append(
            M.table({
              caption: `${name}, ${about}${shown < plane.rows ? `: the first ${shown} rows` : ""}`,
              head: ["", ...M.range(plane.columns).map(plane.columnName)],
              rows: M.range(shown).map(line),
            }),
          );
        },
      },
      h("summary", { "aria-label": `${name}, ${about}, as a table` }, "as a table"),
    );
    return details;
  }

  Object.assign(M, { ARROWS, outline, legend, stepButtons, toPanel, planeAsTable });
})();
