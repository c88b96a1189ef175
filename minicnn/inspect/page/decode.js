/* The record's arrays: base64 in, numbers out; and how a number is written.

   An array of the record is {shape, dtype, data, kept}. `data` holds little-endian numbers in C order, which every
   browser's machine reads as they are. A large array comes in part: `kept` then lists, axis by axis, the indices
   that are there. What is asked for by its true index is either there or undefined, "left out"; so a view never
   mistakes a missing number for a zero. */

window.MINICNN = {};

(() => {
  const M = window.MINICNN;
  const TYPES = { float32: Float32Array, float64: Float64Array, int32: Int32Array };

  function decode(array) {
    if (!array) return null;
    const values = lazily(() => new TYPES[array.dtype](bytes(array.data)));
    const lists = array.shape.map((_, axis) => array.kept?.axes[axis] ?? null);
    const counts = array.shape.map((size, axis) => lists[axis]?.length ?? size);
    const places = lists.map((list) => list && new Map(list.map((index, place) => [index, place])));

    /** The number at its true indices; undefined where it is left out of the page. */
    function get(...indices) {
      let at = 0;
      for (let axis = 0; axis < counts.length; axis++) {
        const index = indices[axis];
        if (!(index >= 0 && index < array.shape[axis])) {
          throw new RangeError(`decode: expected indices within ${array.shape}, got ${indices}`);
        }
        const place = places[axis] ? places[axis].get(index) : index;
        if (place === undefined) return undefined;
        at = at * counts[axis] + place;
      }
      return values()[at];
    }

    return {
      shape: array.shape,
      dtype: array.dtype,
      whole: lists.every((list) => list === null),
      get,
      /** The true indices of `axis` that are in the page, in order. */
      kept: (axis) => lists[axis] ?? Array.from({ length: array.shape[axis] }, (_, index) => index),
      /** All numbers that are in the page. */
      values: () => values(),
    };
  }

  /** Base64 is read only when somebody looks: a page holds megabytes of it, and a view needs one layer's. */
  function lazily(make) {
    let made;
    return () => (made ??= make());
  }

  function bytes(base64) {
    const text = atob(base64);
    const array = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) array[i] = text.charCodeAt(i);
    return array.buffer;
  }

  /** A number with 6 significant digits, as text with a true minus sign. */
  function number(value) {
    if (value === undefined) return "left out";
    if (value !== 0 && Math.abs(value) < 1e-4) return signed(Number(value.toPrecision(6)).toExponential());
    return signed(Number(value.toPrecision(6)));
  }

  /** A number in few letters, for the cells of a map: 2 significant digits. */
  function short(value) {
    if (value === undefined) return "";
    if (value !== 0 && Math.abs(value) < 1e-3) return signed(value.toExponential(0));
    return signed(Number(value.toPrecision(2)));
  }

  function signed(value) {
    return value === 0 ? "0" : String(value).replaceAll("-", "−"); // no "−0" either
  }

  /** A whole number with its thousands apart, by a narrow space that does not break. */
  function count(value) {
    return value.toLocaleString("en").replaceAll(",", "\u202f");
  }

  /** Bytes in the unit that makes them readable. */
  function size(bytes) {
    const units = ["bytes", "kB", "MB", "GB"];
    const power = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
    return `${Number((bytes / 1000 ** power).toPrecision(3))} ${units[power]}`;
  }

  Object.assign(M, { decode, number, short, count, size });
})();
