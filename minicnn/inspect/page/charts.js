/* The charts of the page, drawn by d3: numbers along the depth of the network, histograms, and bars. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const NARROWEST = 260; // pixels; a narrower place shows the same chart smaller

  /** A figure whose chart is drawn again for each width it is given. */
  function chart(caption, draw, table) {
    const place = h("div", { class: "plot", "aria-hidden": "true" });
    let width = 0;
    new ResizeObserver(() => {
      if (!place.clientWidth || place.clientWidth === width) return; // 0: no longer on the page
      width = place.clientWidth;
      place.replaceChildren(draw(Math.max(width, NARROWEST)));
    }).observe(place);
    // The drawing is for the eye; the same numbers stand in a table for everybody.
    const details = h("details", { class: "as-table" }, h("summary", {}, "as a table"), table);
    return h("figure", { class: "chart" }, h("figcaption", {}, caption), place, details);
  }

  const canvas = (width, height) =>
    d3.create("svg").attr("width", width).attr("height", height).attr("viewBox", [0, 0, width, height]);

  /** Draw an axis of d3's on a plot, moved by x and y. */
  const axis = (plot, [x, y], drawn) =>
    plot.append("g").attr("class", "axis").attr("transform", `translate(${x},${y})`).call(drawn);

  /** One dot a layer, from the first at the top to the last at the bottom, on a logarithmic axis.

      Layers whose number is 0 have no place on such an axis: they are named with a 0 at its left end. */
  function depth({ caption, unit, rows, kind }) {
    const draw = (width) => {
      const [line, left, right, top] = [22, 112, 56, 24];
      const height = top + rows.length * line + 8;
      const positive = rows.map((row) => row.value).filter((value) => value > 0);
      const [low, high] = positive.length ? d3.extent(positive) : [0.1, 1];
      const x = d3.scaleLog([low / 1.5, high * 1.5], [left, width - right]);
      const y = (place) => top + (place + 0.5) * line;
      const plot = canvas(width, height);
      axis(
        plot,
        [0, top],
        d3
          .axisTop(x)
          .ticks(Math.max(2, Math.floor((width - left - right) / 90)), "~g")
          .tickSizeInner(-height + top),
      );
      const at = (row) => (row.value > 0 ? x(row.value) : left);
      plot
        .append("path")
        .attr("class", `depth-line line-${kind}`)
        .attr(
          "d",
          d3.line(
            (row) => at(row),
            (_, place) => y(place),
          )(rows),
        );
      const mark = plot
        .selectAll("g.point")
        .data(rows)
        .join("g")
        .attr("class", "point")
        .attr("transform", (_, place) => `translate(0,${y(place)})`);
      mark
        .append("text")
        .attr("class", "layer-name")
        .attr("x", 0)
        .attr("dy", "0.32em")
        .text((row) => shorten(row.name));
      mark.append("circle").attr("class", `dot-${kind}`).attr("cx", at).attr("r", 4.5);
      mark
        .append("text")
        .attr("class", "point-value")
        .attr("x", (row) => at(row) + 9)
        .attr("dy", "0.32em")
        .text((row) => M.short(row.value));
      mark.append("title").text((row) => `${row.name}: ${M.number(row.value)}`);
      return plot.node();
    };
    return chart(
      caption,
      draw,
      M.table({
        caption,
        head: ["layer", unit],
        rows: rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name), h("td", {}, M.num(row.value)))),
      }),
    );
  }

  const shorten = (name) => (name.length > 15 ? `${name.slice(0, 7)}…${name.slice(-7)}` : name);

  /** How often the numbers lie where. */
  function histogram({ caption, values, kind, bins = 28 }) {
    const [low, high] = d3.extent(values);
    const domain = low < high ? [low, high] : [low - 0.5, high + 0.5]; // all numbers the same
    const counted = d3
      .bin()
      .domain(domain)
      .thresholds(d3.range(1, bins).map((i) => domain[0] + ((domain[1] - domain[0]) * i) / bins))(values);
    const draw = (width) => {
      const [height, left, bottom, top] = [150, 40, 24, 8];
      const x = d3.scaleLinear(domain, [left, width - 12]);
      const y = d3.scaleLinear([0, d3.max(counted, (bin) => bin.length)], [height - bottom, top]);
      const plot = canvas(width, height);
      axis(plot, [0, height - bottom], d3.axisBottom(x).ticks(Math.max(2, Math.floor(width / 80))));
      axis(plot, [left, 0], d3.axisLeft(y).ticks(3));
      plot
        .selectAll("rect")
        .data(counted)
        .join("rect")
        .attr("class", `bar-${kind}`)
        .attr("x", (bin) => x(bin.x0) + 0.5)
        .attr("width", (bin) => Math.max(0.5, x(bin.x1) - x(bin.x0) - 1))
        .attr("y", (bin) => y(bin.length))
        .attr("height", (bin) => height - bottom - y(bin.length));
      return plot.node();
    };
    const line = (bin) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, `${M.short(bin.x0)} to ${M.short(bin.x1)}`),
        h("td", {}, String(bin.length)),
      );
    return chart(caption, draw, M.table({ caption, head: ["from … to", "how many"], rows: counted.map(line) }));
  }

  /** Numbers added one after the other: each bar begins where the last one ended, and the sum stands below. */
  function waterfall({ caption, rows, total }) {
    const ends = d3.cumsum(rows, (row) => row.value);
    const bars = [
      ...rows.map((row, place) => ({ ...row, from: place ? ends[place - 1] : 0, to: ends[place] })),
      { name: "sum", value: total, style: "path-sum", from: 0, to: total },
    ];
    const draw = (width) => {
      const [line, left, right] = [26, 138, 76];
      const [low, high] = d3.extent([0, ...ends, total]);
      const x = d3.scaleLinear([low, high > low ? high : low + 1], [left, width - right]);
      const plot = canvas(width, bars.length * line + 4);
      plot
        .append("line")
        .attr("class", "zero")
        .attr("x1", x(0))
        .attr("x2", x(0))
        .attr("y1", 0)
        .attr("y2", bars.length * line);
      const bar = plot
        .selectAll("g")
        .data(bars)
        .join("g")
        .attr("class", (row) => row.style)
        .attr("transform", (_, place) => `translate(0,${place * line})`);
      bar
        .append("text")
        .attr("class", "layer-name")
        .attr("y", line / 2)
        .attr("dy", "0.32em")
        .text((row) => row.name);
      bar
        .append("rect")
        .attr("class", "part")
        .attr("y", 5)
        .attr("height", line - 10)
        .attr("x", (row) => Math.min(x(row.from), x(row.to)))
        .attr("width", (row) => Math.max(1, Math.abs(x(row.to) - x(row.from))));
      bar
        .append("text")
        .attr("class", "point-value")
        .attr("x", width - right + 8)
        .attr("y", line / 2)
        .attr("dy", "0.32em")
        .text((row) => M.short(row.value));
      return plot.node();
    };
    return chart(
      caption,
      draw,
      M.table({
        caption,
        head: ["part", "value"],
        rows: bars.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name), h("td", {}, M.num(row.value)))),
      }),
    );
  }

  /** A bar for each name: probabilities, from 0 to 1. */
  function bars({ caption, rows }) {
    const longest = d3.max(rows, (row) => shorten(row.name).length);
    const draw = (width) => {
      const [line, left, right] = [24, 16 + 8 * longest, 60]; // 8 pixels for a letter, also of bold ones
      const x = d3.scaleLinear([0, 1], [left, width - right]);
      const plot = canvas(width, rows.length * line);
      const bar = plot
        .selectAll("g")
        .data(rows)
        .join("g")
        .attr("transform", (_, place) => `translate(0,${place * line})`)
        .attr("class", (row) => (row.right ? "right" : ""));
      bar
        .append("text")
        .attr("class", "layer-name")
        .attr("y", line / 2)
        .attr("dy", "0.32em")
        .text((row) => shorten(row.name));
      bar
        .append("rect")
        .attr("class", "bar-ground")
        .attr("x", left)
        .attr("y", 4)
        .attr("width", width - right - left)
        .attr("height", line - 8);
      bar
        .append("rect")
        .attr("class", "bar-value")
        .attr("x", left)
        .attr("y", 4)
        .attr("width", (row) => x(row.value) - left)
        .attr("height", line - 8);
      bar
        .append("text")
        .attr("class", "point-value")
        .attr("x", width - right + 8)
        .attr("y", line / 2)
        .attr("dy", "0.32em")
        .text((row) => M.short(row.value));
      return plot.node();
    };
    return chart(
      caption,
      draw,
      M.table({
        caption,
        head: ["class", "probability"],
        rows: rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name), h("td", {}, M.num(row.value)))),
      }),
    );
  }

  Object.assign(M, { charts: { chart, canvas, axis, shorten, depth, histogram, waterfall, bars } });
})();
