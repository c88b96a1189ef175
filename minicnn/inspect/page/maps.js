/* A map: a plane of numbers as coloured cells, any of which can be read, pointed at and picked.

   With the pointer: point to read, click to pick. With the keyboard: the arrow keys move from cell to cell, Home and
   End to the ends of a row, Enter or Space picks. A screen reader says each cell's number on the way, and every map
   can be opened as a table. */

(() => {
  const M = window.MINICNN;
  const { h, svg } = M;
  const TALLEST = 400; // pixels
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
    const veil = h("p", { class: "map-veil", hidden: true }, "answer first, then look");
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
      veil,
    );
    const readout = h("output", { class: "readout", id: readoutId, "aria-live": "polite" });
    const element = h(
      "figure",
      { class: "map", "data-map": role },
      h("figcaption", {}, h("b", { class: `letter-${scale.kind}` }, name), " ", h("span", {}, about)),
      frame,
      readout,
      onpick ? M.toPanel() : null,
      onpick ? M.stepButtons(name, (by) => pick(moved(by))) : null,
      plane.note ? h("p", { class: "left-out" }, `In this page: ${plane.note}.`) : null,
      h("div", { class: "map-foot" }, M.legend(scale), M.planeAsTable(plane, name, about)),
    );

    const label = (index) => `${name}[${index.join(", ")}]`;

    function read(at) {
      const index = at && plane.index(at.row, at.column);
      const hint = onpick ? "pick a cell" : "point to a cell";
      if (state.hidden) readout.replaceChildren();
      else readout.replaceChildren(...(index ? [`${label(index)} = `, M.num(plane.get(at.row, at.column))] : [hint]));
    }

    function draw() {
      if (!state.cell) return;
      M.paint(canvas, { plane, scale, cell: state.cell, pad: ring });
      element.dataset.cell = state.cell;
      trace();
    }

    /** The outlines alone: the cells below them stay as they are. */
    function trace() {
      if (!state.cell) return; // not yet laid out
      const [width, height] = [columns * state.cell, rows * state.cell];
      for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) {
        overlay.setAttribute(key, value);
      }
      const shapes = [...state.marks];
      if (state.picked) shapes.push({ ...state.picked, kind: "pick" });
      shapes.push({ ...state.cursor, kind: "cursor" });
      overlay.replaceChildren(...shapes.flatMap((mark) => M.outline(mark, state.cell, ring)));
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
      trace();
      read(at);
      onpick?.(plane.index(at.row, at.column));
    }

    /** The cell so many rows and columns away from the cursor, or the last one in that direction. */
    function moved([rowsDown, columnsRight]) {
      const row = Math.min(Math.max(state.cursor.row + rowsDown, 0), plane.rows - 1);
      const column = Math.min(Math.max(state.cursor.column + columnsRight, 0), plane.columns - 1);
      return plane.index(row, column) ? { row, column } : state.cursor;
    }

    function move(by) {
      state.cursor = moved(by);
      trace();
      read(state.cursor);
    }

    function onkeydown(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (M.ARROWS[event.key]) move(M.ARROWS[event.key]);
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
        trace();
      },
      /** Show a cell as picked without a call of `onpick`. */
      show: (at) => {
        state.picked = at;
        if (at) state.cursor = at;
        trace();
        read(at);
      },
      /** Cover the map while a question about it is open. */
      hide: (hidden) => {
        state.hidden = hidden;
        element.classList.toggle("veiled", hidden);
        veil.hidden = !hidden;
        read(state.picked);
      },
    };
    apiOf.set(element, api);
    return api;
  }

  M.onThemeChange(() => {
    for (const figure of document.querySelectorAll("[data-map]")) apiOf.get(figure)?.draw();
    for (const other of document.querySelectorAll(".thumbnail, .strip")) other.redraw();
  });

  M.map = map;
})();
