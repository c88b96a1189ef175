/* The charts of the replay: a number in the course of the run, and numbers along the depth that move with the step.

   Each is {element, show}: `show(position)` moves its marks to a position in the list of steps. Axes stay as they are
   for the whole run, so that what moves is the number. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const { chart, canvas, axis } = M.charts;
  const TABLE_ROWS = 400; // more than that nobody reads

  const finite = (value) => Number.isFinite(value);

  /** A number as text, or a dash where there is none: a ratio to a weight of norm 0. */
  const numberOr = (value, attributes) =>
    Number.isNaN(value) ? h("span", { ...attributes, "data-value": "NaN" }, "–") : M.num(value, attributes);

  /** A table that is written when it is opened. */
  function lateTable(caption, head, count, row) {
    const every = Math.ceil(count / TABLE_ROWS);
    const place = h("div");
    place.write = () => {
      if (place.childElementCount) return;
      place.append(
        M.table({
          caption: every === 1 ? caption : `${caption}: one step in ${every} of these`,
          head,
          rows: M.range(Math.ceil(count / every)).map((line) => row(line * every)),
        }),
      );
    };
    return place;
  }

  /** `values` against `steps`, and a mark at the step of the moment. */
  function timeline({ caption, unit, steps, values, kind, fromZero = false }) {
    let position = 0;
    let place = () => {};

    function draw(width) {
      const [height, left, right, bottom, top] = [190, 56, 16, 26, 10];
      const known = [...values].filter(finite);
      const [low = 0, high = 0] = d3.extent(fromZero ? [0, ...known] : known); // there may be no number at all
      const x = d3.scaleLinear(d3.extent(steps), [left, width - right]);
      const y = d3.scaleLinear(low < high ? [low, high] : [low - 0.5, high + 0.5], [height - bottom, top]).nice(4);
      const plot = canvas(width, height);
      axis(plot, [0, height - bottom], d3.axisBottom(x).ticks(Math.max(2, Math.floor(width / 90)), "d"));
      axis(
        plot,
        [left, 0],
        d3
          .axisLeft(y)
          .ticks(4, "~g")
          .tickSizeInner(-(width - left - right)),
      );
      const curve = d3
        .line(
          (_, at) => x(steps[at]),
          (value) => y(value),
        )
        .defined(finite);
      plot.append("path").attr("class", `course line-${kind}`).attr("d", curve(values));
      const line = plot
        .append("line")
        .attr("class", "moment")
        .attr("y1", top)
        .attr("y2", height - bottom);
      const dot = plot.append("circle").attr("class", `dot-${kind}`).attr("r", 5);
      place = () => {
        const at = x(steps[position]);
        line.attr("x1", at).attr("x2", at);
        dot.attr("cx", at).attr("cy", finite(values[position]) ? y(values[position]) : height - bottom);
      };
      place();
      return plot.node();
    }

    const table = lateTable(caption, ["step", unit], steps.length, (at) =>
      h("tr", {}, h("th", { scope: "row" }, String(steps[at])), h("td", {}, numberOr(values[at]))),
    );
    const element = chart(caption, draw, table);
    element.querySelector("details").addEventListener("toggle", table.write);
    return {
      element,
      show: (now) => {
        position = now;
        place();
      },
    };
  }

  /** One dot for each of `names`, first layer at the top, at the number it has in `array` (steps, names).

      The thin line behind a dot is where the number was in the whole run. */
  function alongDepth({ caption, unit, names, array, kind, role }) {
    const count = names.length;
    const get = (position, place) => array.get(position, place);
    const ranges = names.map((_, place) =>
      d3.extent(
        d3
          .range(array.shape[0])
          .map((position) => get(position, place))
          .filter((v) => finite(v) && v > 0),
      ),
    );
    const [low = 0.1, high = 1] = d3.extent(ranges.flat());
    let position = 0;
    let place = () => {};

    function draw(width) {
      const [line, left, right, top] = [22, 112, 58, 24];
      const height = top + count * line + 8;
      const x = d3.scaleLog([low / 1.5, high * 1.5], [left, width - right]);
      const y = (row) => top + (row + 0.5) * line;
      const powers = x.ticks().filter((tick) => Number.isInteger(Math.log10(tick)));
      const plot = canvas(width, height);
      axis(
        plot,
        [0, top],
        d3
          .axisTop(x)
          .tickValues(powers.length > 1 ? powers : x.ticks(3))
          .tickFormat(d3.format("~e"))
          .tickSizeInner(-height + top),
      );
      const curve = plot.append("path").attr("class", `depth-line line-${kind}`);
      const point = plot
        .selectAll("g.point")
        .data(d3.range(count))
        .join("g")
        .attr("class", "point")
        .attr("transform", (row) => `translate(0,${y(row)})`);
      point
        .append("text")
        .attr("class", "layer-name")
        .attr("dy", "0.32em")
        .text((row) => M.charts.shorten(names[row]));
      point
        .filter((row) => ranges[row][0] !== undefined) // it was 0 in the whole run
        .append("line")
        .attr("class", `track line-${kind}`)
        .attr("x1", (row) => x(ranges[row][0]))
        .attr("x2", (row) => x(ranges[row][1]));
      const dot = point.append("circle").attr("class", `dot-${kind}`).attr("r", 4.5);
      const text = point.append("text").attr("class", "point-value").attr("dy", "0.32em");
      place = () => {
        const at = (row) => {
          const value = get(position, row);
          if (value === Infinity) return width - right;
          return value > 0 ? x(value) : left; // 0 and no number: at the left end
        };
        curve.attr(
          "d",
          d3.line(
            (row) => at(row),
            (row) => y(row),
          )(d3.range(count)),
        );
        dot.attr("cx", at);
        text
          .attr("x", (row) => at(row) + 9)
          .text((row) => (Number.isNaN(get(position, row)) ? "–" : M.short(get(position, row))));
      };
      place();
      return plot.node();
    }

    const cells = names.map(() => h("td"));
    const table = M.table({
      caption,
      head: ["parameter", unit],
      rows: names.map((name, row) => h("tr", {}, h("th", { scope: "row" }, name), cells[row])),
      attributes: { "data-replay-norm": role },
    });
    return {
      element: chart(caption, draw, table),
      show: (now) => {
        position = now;
        place();
        cells.forEach((cell, row) => cell.replaceChildren(numberOr(get(now, row), { "data-name": names[row] })));
      },
    };
  }

  Object.assign(M, { replayCharts: { timeline, alongDepth } });
})();
