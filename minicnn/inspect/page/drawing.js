/* Painting the cells of a plane onto a canvas. */

(() => {
  const M = window.MINICNN;
  const NUMBER_FROM = 40; // pixels a cell needs to have its number written into it
  const DOT_FROM = 8; // and to have a dot for an exact zero

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /** Stripes for cells whose number is not there: padding, left out, or NaN. */
  function stripes(context) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const pen = tile.getContext("2d");
    pen.strokeStyle = css("--stripe");
    pen.beginPath();
    for (const shift of [-6, 0, 6]) {
      pen.moveTo(shift, 6);
      pen.lineTo(shift + 6, 0);
    }
    pen.stroke();
    return context.createPattern(tile, "repeat");
  }

  /** Paint `plane` with cells of `cell` pixels and a ring of `pad` = [rows, columns] cells of padding around it. */
  function paint(canvas, { plane, scale, cell, pad = [0, 0] }) {
    const [rows, columns] = [plane.rows + 2 * pad[0], plane.columns + 2 * pad[1]];
    const sharpness = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(columns * cell * sharpness));
    canvas.height = Math.max(1, Math.round(rows * cell * sharpness));
    canvas.style.width = `${columns * cell}px`;
    canvas.style.height = `${rows * cell}px`;
    const pen = canvas.getContext("2d");
    pen.scale(sharpness, sharpness);
    const [absent, dot, figures] = [stripes(pen), css("--dot"), css("--figures")];
    const line = cell >= 8 ? 1 : 0; // a thin line between cells that are large enough
    pen.textAlign = "center";
    pen.textBaseline = "middle";

    for (let row = -pad[0]; row < plane.rows + pad[0]; row++) {
      for (let column = -pad[1]; column < plane.columns + pad[1]; column++) {
        const inside = row >= 0 && column >= 0 && row < plane.rows && column < plane.columns;
        const value = inside && plane.index(row, column) ? plane.get(row, column) : undefined;
        const isNumber = value !== undefined && !Number.isNaN(value);
        const [left, top] = [(column + pad[1]) * cell, (row + pad[0]) * cell];
        pen.fillStyle = isNumber ? scale.colour(value) : absent;
        // A hair more than the cell where there is no line, or rounding would leave one.
        pen.fillRect(left, top, cell - line + (line ? 0 : 0.5), cell - line + (line ? 0 : 0.5));
        if (!isNumber) continue;
        if (cell >= NUMBER_FROM) write(pen, figures, M.short(value), scale.colour(value), [left, top], cell);
        else if (value === 0 && scale.kind === "gradient" && cell >= DOT_FROM) {
          pen.fillStyle = dot;
          pen.fillRect(left + cell / 2 - 1.5, top + cell / 2 - 1.5, 2, 2);
        }
      }
    }
  }

  function write(pen, family, text, background, [left, top], cell) {
    const high = Math.min(13, (cell - 4) / (0.61 * text.length)); // of these fonts a letter is 0.6 as wide as high
    pen.font = `${high}px ${family}`;
    pen.fillStyle = M.isLight(background) ? "#000" : "#fff";
    pen.fillText(text, left + cell / 2, top + cell / 2);
  }

  /** A small map without numbers, one pixel a cell, for the overview; the style sheet makes it larger. */
  function thumbnail(plane, scale, label) {
    const canvas = M.h("canvas", { class: "thumbnail", role: "img", "aria-label": label, title: label });
    canvas.width = plane.columns;
    canvas.height = plane.rows;
    const draw = () => {
      const pen = canvas.getContext("2d");
      const image = pen.createImageData(plane.columns, plane.rows);
      const pixels = new Uint32Array(image.data.buffer);
      const [pixel, absent] = [scale.pixels(), M.asPixel(css("--stripe"))];
      for (let row = 0; row < plane.rows; row++) {
        for (let column = 0; column < plane.columns; column++) {
          const value = plane.index(row, column) ? plane.get(row, column) : undefined;
          pixels[row * plane.columns + column] = value === undefined || Number.isNaN(value) ? absent : pixel(value);
        }
      }
      pen.putImageData(image, 0, 0);
    };
    draw();
    canvas.redraw = draw;
    return canvas;
  }

  Object.assign(M, { paint, thumbnail });
})();
