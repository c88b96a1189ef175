/* A map: a plane of numbers as coloured cells, any of which can be read, pointed at and picked.

   With the pointer: point to read, click to pick. With the keyboard: the arrow keys move from cell to cell, Home and
   End to the ends of a row, Enter or Space picks. A screen reader is told each cell's number on the way, and every map
   can be opened as a table. */

(() => {
  const M = window.MINICNN;
  const { h, svg } = M;
  const TALLEST = 400; // pixels
  const TABLE_CELLS = 4096; // more than that nobody reads
  const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const apiOf = new WeakMap();

  /** The largest cell that looks well: small maps have room for numbers. */
  const widestCell = (columns) => (columns <= 9 ? 56 : columns <= 16 ? 30 : 22);

  /** A map.

      role: what tests and style find it by, `data-map`.     name, about: its caption, "dx" and "gradient of x".
      plane, scale: the numbers and their colours.           pad: rows and columns of padding to draw around it.
      onpick(index): a cell was picked.                      cellLimit: the largest cell, in pixels.
      leader: another map, whose cells are as large as this one's are to be. */
  function map({ role, name, about, plane, scale, pad = [0, 0], onpick = null, cellLimit = null, leader = null }) {
    const ring = plane.whole ? pad : [0, 0]; // around a part of a map there is no padding
    const [rows, columns] = [plane.rows + 2 * ring[0], plane.columns + 2 * ring[1]];
    const state = { cell: 0, cursor: { row: 0, column: 0 }, picked: null, marks: [], hidden: false };
    const followers = [];

    const readoutId = M.freshId("readout");
    const canvas = h("canvas", { "aria-hidden": "true" });
    const overlay = svg("svg", { class: "marks", "aria-hidden": "true" });
    const frame = h(
      "div",
      {
        class: "map-frame",
        tabindex: "0",
        role: "application",
        "aria-roledescription": "map of numbers",
        "aria-label":
          `${name}, ${about}: ${plane.rows} rows, ${plane.columns} columns. ` +
          `The arrow keys go from cell to cell${onpick ? ", Enter picks one" : ""}.`,
        "aria-describedby": readoutId,
        onkeydown,
        onclick,
        onpointermove,
        onpointerleave: () => read(state.picked),
      },
      canvas,
      overlay,
    );
    const readout = h("output", { class: "readout", id: readoutId, "aria-live": "polite" });
    const veil = h("p", { class: "map-veil", hidden: true }, "answer first, then look");
    const element = h(
      "figure",
      { class: "map", "data-map": role },
      h("figcaption", {}, h("b", { class: `letter-${scale.kind}` }, name), " ", h("span", {}, about)),
      frame,
      veil,
      h("div", { class: "map-foot" }, readout, legend(scale)),
      onpick ? steps() : null,
      plane.note ? h("p", { class: "left-out" }, `In this page: ${plane.note}.`) : null,
      asTable(),
    );

    const label = (index) => `${name}[${index.join(", ")}]`;

    function read(at) {
      const index = at && plane.index(at.row, at.column);
      readout.replaceChildren(
        ...(index && !state.hidden
          ? [`${label(index)} = `, M.num(plane.get(at.row, at.column))]
          : [onpick ? "pick a cell" : "point to a cell"]),
      );
    }

    function draw() {
      if (!state.cell) return;
      M.paint(canvas, { plane, scale, cell: state.cell, pad: ring });
      element.dataset.cell = state.cell;
      const [width, height] = [columns * state.cell, rows * state.cell];
      for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) {
        overlay.setAttribute(key, value);
      }
      const shapes = [...state.marks];
      if (state.picked) shapes.push({ ...state.picked, kind: "pick" });
      shapes.push({ ...state.cursor, kind: "cursor" });
      overlay.replaceChildren(...shapes.flatMap((mark) => outline(mark, state.cell, ring)));
    }

    function resize() {
      // Measured on the figure, whose width the map does not set; whole pixels, unless they would be too few.
      const room = Math.min(element.clientWidth / columns, TALLEST / rows, cellLimit ?? widestCell(columns));
      if (element.clientWidth) setCell(room >= 3 ? Math.floor(room) : room);
    }

    function setCell(cell) {
      if (cell === state.cell) return;
      state.cell = cell;
      draw();
      for (const follow of followers) follow(cell);
    }

    function pick(at) {
      if (!plane.index(at.row, at.column)) return;
      state.cursor = { row: at.row, column: at.column };
      if (onpick) state.picked = state.cursor;
      draw();
      read(at);
      onpick?.(plane.index(at.row, at.column));
    }

    function move(by, place = state.cursor) {
      const row = Math.min(Math.max(place.row + by[0], 0), plane.rows - 1);
      const column = Math.min(Math.max(place.column + by[1], 0), plane.columns - 1);
      if (plane.index(row, column)) state.cursor = { row, column };
      draw();
      read(state.cursor);
    }

    function onkeydown(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (ARROWS[event.key]) move(ARROWS[event.key]);
      else if (event.key === "Home") move([0, -plane.columns]);
      else if (event.key === "End") move([0, plane.columns]);
      else if (event.key === "Enter" || event.key === " ") pick(state.cursor);
      else return;
      event.preventDefault(); // the page must not scroll with the arrows
    }

    /** The cell under the pointer, or null in the padding. */
    function under(event) {
      const box = canvas.getBoundingClientRect();
      const row = Math.floor((event.clientY - box.top) / state.cell) - ring[0];
      const column = Math.floor((event.clientX - box.left) / state.cell) - ring[1];
      const inside = row >= 0 && column >= 0 && row < plane.rows && column < plane.columns;
      return inside && plane.index(row, column) ? { row, column } : null;
    }

    function onclick(event) {
      const at = under(event);
      if (at) pick(at);
    }

    function onpointermove(event) {
      read(under(event) ?? state.picked);
    }

    /** Buttons for fingers, which are wider than a cell; the style sheet shows them where they are needed. */
    function steps() {
      const words = {
        ArrowUp: ["↑", "up"],
        ArrowDown: ["↓", "down"],
        ArrowLeft: ["←", "left"],
        ArrowRight: ["→", "right"],
      };
      return h(
        "div",
        { class: "map-steps" },
        Object.entries(words).map(([key, [sign, word]]) =>
          h(
            "button",
            {
              type: "button",
              "aria-label": `${name}: one cell ${word}`,
              onclick: () => {
                move(ARROWS[key]);
                pick(state.cursor);
              },
            },
            sign,
          ),
        ),
      );
    }

    function asTable() {
      const details = h(
        "details",
        {
          class: "as-table",
          ontoggle: () => {
            if (!details.open || details.childElementCount > 1) return;
            const shown = Math.min(plane.rows, Math.ceil(TABLE_CELLS / plane.columns));
            const line = (row) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, String(row)),
                M.range(plane.columns).map((column) =>
                  h("td", {}, plane.index(row, column) ? M.num(plane.get(row, column)) : ""),
                ),
              );
            details.append(
              M.table({
                caption: `${name}, ${about}${shown < plane.rows ? `: the first ${shown} rows` : ""}`,
                head: ["", ...M.range(plane.columns).map(String)],
                rows: M.range(shown).map(line),
              }),
            );
          },
        },
        h("summary", {}, `${name} as a table`),
      );
      return details;
    }

    if (leader) leader.lead(setCell);
    else new ResizeObserver(resize).observe(element);
    read(null);
    const api = {
      element,
      plane,
      draw,
      /** Tell `follow` the size of a cell, now and whenever it changes. */
      lead: (follow) => {
        followers.push(follow);
        follow(state.cell);
      },
      /** Outline or tint cells: [{row, column, rows, columns, kind}], in places of the plane. */
      mark: (marks) => {
        state.marks = marks.filter(Boolean);
        draw();
      },
      /** Pick the cell at a place of the plane, as a click would; null picks none, and tells nobody. */
      pick: (at) => {
        if (at) pick(at);
        else {
          state.picked = null;
          draw();
          read(null);
        }
      },
      /** Show a cell as picked without telling anybody. */
      show: (at) => {
        state.picked = at;
        if (at) state.cursor = at;
        draw();
        read(at);
      },
      /** Cover the map while a question about it is open. */
      hide: (hidden) => {
        state.hidden = hidden;
        element.classList.toggle("veiled", hidden);
        veil.hidden = !hidden;
        read(state.picked);
      },
      /** Where the middle of a cell is in the window, for a test to click. */
      centre: (row, column) => {
        const box = canvas.getBoundingClientRect();
        const along = (start, place, rim) => start + (place + rim + 0.5) * state.cell;
        return { x: along(box.left, column, ring[1]), y: along(box.top, row, ring[0]) };
      },
    };
    apiOf.set(element, api);
    return api;
  }

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
      width: columns * cell - 2 * inset,
      height: rows * cell - 2 * inset,
    };
    if (kind === "winner") {
      const circle = { cx: box.x + cell / 2, cy: box.y + cell / 2, r: Math.max(2, cell / 3.2) };
      return ["halo", "line"].map((layer) => svg("circle", { class: `mark mark-${kind} ${layer}`, ...circle }));
    }
    return ["halo", "line"].map((layer) => svg("rect", { class: `mark mark-${kind} ${layer}`, ...box }));
  }

  M.onThemeChange(() => {
    for (const figure of document.querySelectorAll("[data-map]")) apiOf.get(figure)?.draw();
    for (const other of document.querySelectorAll(".thumbnail, .strip")) other.redraw();
  });

  Object.assign(M, { map, mapOf: (element) => apiOf.get(element) });
})();
