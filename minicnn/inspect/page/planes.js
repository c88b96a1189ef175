/* A plane is what a map shows of an array: rows and columns of cells, each with its true index in the array.

   An array that comes in part has fewer rows and columns in the page than it has in truth, so a plane knows both: the
   place of a cell on the map, and its index. */

(() => {
  const M = window.MINICNN;
  const VECTOR_COLUMNS = 32; // a longer vector goes on in the next row

  /** The plane over the last two axes of `array`, with `first` the indices of the axes before them. It shows what the
      page has of these axes, or of that what is `among` a list of indices for each. */
  function image(array, first, among = [null, null]) {
    const [rowAxis, columnAxis] = [array.shape.length - 2, array.shape.length - 1];
    const [rows, columns] = [among[0] ?? array.kept(rowAxis), among[1] ?? array.kept(columnAxis)];
    const whole = rows.length === array.shape[rowAxis] && columns.length === array.shape[columnAxis];
    const plane = {
      rows: rows.length,
      columns: columns.length,
      whole,
      rowName: (row) => String(rows[row]),
      columnName: (column) => String(columns[column]),
      index: (row, column) => [...first, rows[row], columns[column]],
      get: (row, column) => array.get(...first, rows[row], columns[column]),
      /** The place of the cell with these last two indices, or null where it is left out. */
      place: (r, s) => {
        const [row, column] = [rows.indexOf(r), columns.indexOf(s)];
        return row < 0 || column < 0 ? null : { row, column };
      },
      /** The place of the cell with all these indices, or null where it is on another plane or left out. */
      find: (index) => (same(index.slice(0, first.length), first) ? plane.place(...index.slice(first.length)) : null),
      /** The place of a rectangle of cells, stops exclusive; it may reach into the padding of a whole plane. */
      rectangle: ([top, bottom], [left, right]) => {
        if (whole) return { row: top, column: left, rows: bottom - top, columns: right - left };
        const [inRows, inColumns] = [within(rows, top, bottom), within(columns, left, right)];
        return inRows && inColumns
          ? { row: inRows.first, rows: inRows.count, column: inColumns.first, columns: inColumns.count }
          : null;
      },
      note: partly(array, [
        [rowAxis, "rows"],
        [columnAxis, "columns"],
      ]),
    };
    return plane;
  }

  /** How much of some axes is in the page, in words; null where it is all. */
  function partly(array, axes) {
    const cut = axes.filter(([axis]) => array.kept(axis).length < array.shape[axis]);
    return cut.length
      ? cut.map(([axis, word]) => `${array.kept(axis).length} of ${array.shape[axis]} ${word}`).join(", ")
      : null;
  }

  const same = (a, b) => a.every((index, place) => index === b[place]);

  function within(kept, start, stop) {
    const inside = kept.filter((index) => start <= index && index < stop);
    return inside.length ? { first: kept.indexOf(inside[0]), count: inside.length } : null;
  }

  /** The last axis of `array` as a plane: one row, or several where it is long. */
  function vector(array, first, columns = VECTOR_COLUMNS, among = null) {
    const axis = array.shape.length - 1;
    const kept = among ?? array.kept(axis);
    const wide = Math.min(kept.length, columns);
    const at = (row, column) => kept[row * wide + column];
    const plane = {
      rows: Math.ceil(kept.length / wide),
      columns: wide,
      whole: kept.length === array.shape[axis],
      rowName: (row) => (kept.length > wide ? `from ${at(row, 0)}` : ""),
      columnName: (column) => (kept.length > wide ? `+ ${column}` : String(at(0, column))),
      index: (row, column) => (at(row, column) === undefined ? null : [...first, at(row, column)]),
      get: (row, column) => (at(row, column) === undefined ? undefined : array.get(...first, at(row, column))),
      place: (d) => {
        const place = kept.indexOf(d);
        return place < 0 ? null : { row: Math.floor(place / wide), column: place % wide };
      },
      find: (index) => (same(index.slice(0, first.length), first) ? plane.place(index[first.length]) : null),
      note: partly(array, [[axis, "numbers"]]),
    };
    return plane;
  }

  /** The vector as a column, beside the matrix it belongs to. */
  function column(array, first, among) {
    const flat = vector(array, first, Infinity, among);
    const turned = (place) => (place ? { row: place.column, column: 0 } : null);
    return {
      ...flat,
      rows: flat.columns,
      columns: 1,
      rowName: flat.columnName,
      columnName: () => "",
      index: (row) => flat.index(0, row),
      get: (row) => flat.get(0, row),
      place: (d) => turned(flat.place(d)),
      find: (index) => turned(flat.find(index)),
    };
  }

  /** A plane of numbers that the page worked out: so many rows and columns of get(row, column), from `start` on. */
  const made = (rows, columns, get, [top, left] = [0, 0]) => ({
    rows,
    columns,
    whole: true,
    rowName: (row) => String(top + row),
    columnName: (column) => String(left + column),
    index: (row, column) => [top + row, left + column],
    get: (row, column) => get(top + row, left + column),
    note: null,
  });

  /** What to show of an activation of any rank: image n of it, and channel c where it has channels. */
  function planeOf(array, n, c) {
    if (array.shape.length <= 2) return vector(array, array.shape.length === 2 ? [n] : []);
    const between = array.shape.length - 3; // axes between the images and the last two
    return image(array, [n, ...M.range(between).map((axis) => (axis === 0 ? c : array.kept(axis + 1)[0]))]);
  }

  /** The plane over the last two axes, of a vector over its only one; the axes before are at `first`. */
  const planeAt = (array, first) => (array.shape.length === 1 ? vector(array, []) : image(array, first));

  /** The first indices that are in the page of all axes but the last two. */
  const firstOf = (array) => M.range(Math.max(0, array.shape.length - 2)).map((axis) => array.kept(axis)[0]);

  /** The true indices of the cell of a plane that is farthest from 0. */
  function strongest(plane) {
    const cells = d3
      .cross(M.range(plane.rows), M.range(plane.columns))
      .filter(([row, column]) => plane.index(row, column));
    return plane.index(...d3.greatest(cells, ([row, column]) => Math.abs(plane.get(row, column))));
  }

  /** The channels of an activation that are in the page; none where it is a vector. */
  const channelsOf = (array) => (array.shape.length >= 4 ? array.kept(1) : []);

  Object.assign(M, { planes: { image, vector, column, made }, planeOf, planeAt, firstOf, channelsOf, strongest });
})();
