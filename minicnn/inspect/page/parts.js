/* The parts that the views of the layers share: their head, pairs of maps, lists of products, results. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const AT_ONCE = 1500; // a longer list of products is written group by group, as its groups are opened

  /** What the whole page knows: the image that is looked at, and whether the reader wants to be asked first. */
  M.state = { image: 0, asking: false };

  /** The frame of a layer's view: its name, what it is, and what its backward is about. */
  function layerView(layer, story, ...content) {
    return h(
      "section",
      { class: "layer-view", "data-layer": layer.name, "data-kind": layer.kind },
      h(
        "header",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, layer.name, " ", h("small", {}, layer.kind)),
        h("p", { class: "repr" }, layer.repr),
        h("p", { class: "story" }, story),
      ),
      content,
    );
  }

  /** Forward on the left, backward on the right: [[x, dx], [weight, dweight], [y, dy]], one row for each pair. */
  function sides(pairs) {
    return h(
      "div",
      { class: "sides" },
      h("p", { class: "side-head forward", "aria-hidden": "true" }, "forward ↓"),
      h("p", { class: "side-head backward", "aria-hidden": "true" }, "↑ backward"),
      pairs.map(([forward, backward]) => [
        h("div", { class: "side" }, forward ?? null),
        h("div", { class: "side" }, backward ?? null),
      ]),
    );
  }

  /** A chooser of channels by their true numbers. */
  const channelChooser = (name, label, indices, value, onchange) =>
    M.chooser({
      name,
      label,
      value,
      onchange,
      options: indices.map((index) => ({ value: index, text: String(index) })),
    });

  /** Choosers of x's and of y's channel, where there are any: they change `chosen.c` and `chosen.f`, and build again. */
  const channelChoosers = (channels, chosen, build) =>
    h(
      "div",
      { class: "controls" },
      [
        ["c", "input channel", channels[0]],
        ["f", "output channel", channels[1]],
      ].map(([key, label, indices]) =>
        indices.length
          ? channelChooser(key, label, indices, chosen[key], (value) => {
              chosen[key] = value;
              build();
            })
          : null,
      ),
    );

  /** The maps of an activation and of its gradient: same plane, each with its own colours. */
  function twoMaps(tensor, names, roles, { n, c, pad, onforward, onbackward, cellLimit }) {
    const about = (array, what) => (M.channelsOf(array).length ? `${what}, channel ${c}` : what);
    const forward = M.map({
      role: roles[0],
      name: names[0],
      about: about(tensor.value, names[2]),
      plane: M.planeOf(tensor.value, n, c),
      scale: M.scaleOf(tensor, "value"),
      pad,
      onpick: onforward,
      cellLimit,
    });
    const backward = M.map({
      role: roles[1],
      name: names[1],
      about: about(tensor.gradient, `gradient of the ${names[2]}`),
      plane: M.planeOf(tensor.gradient, n, c),
      scale: M.scaleOf(tensor, "gradient"),
      pad,
      onpick: onbackward,
      cellLimit,
    });
    return [forward, backward];
  }

  const inputMaps = (layer, options) => twoMaps(layer.input, ["x", "dx", "input"], ["x", "dx"], options);
  const outputMaps = (layer, options) => twoMaps(layer.output, ["y", "dy", "output"], ["y", "dy"], options);

  /** In place of what is not in the page. */
  const absent = (sentence) => h("p", { class: "left-out" }, sentence);

  /** A list of products (or of what else a sum is made of), group by group; `columns` are {head, of(term)}. Each line
      carries its exact product. */
  function products({ terms, columns, groups = () => "", open = null, word = "product" }) {
    if (terms.length === 0) return absent(`There is no ${word}.`);
    const line = (term) =>
      h(
        "tr",
        { "data-product": "", "data-value": String(term.product) },
        columns.map(({ of }) => {
          const value = of(term);
          return h("td", {}, typeof value === "number" ? M.num(value, { "data-value": null }) : value);
        }),
        h("td", { class: "product" }, M.num(term.product, { "data-value": null })),
      );
    const list = (some, caption) =>
      M.table({
        caption,
        head: [...columns.map(({ head }) => head), word],
        rows: some.map(line),
      });
    const counted = (some) => `${some.length} ${word}${some.length > 1 ? "s" : ""}`;
    const grouped = [...d3.group(terms, groups)];
    if (grouped.length === 1) return list(terms, `${counted(terms)}${grouped[0][0] ? `, ${grouped[0][0]}` : ""}`);
    return h(
      "div",
      { class: "product-groups", tabindex: "0", role: "region", "aria-label": "all products, group by group" },
      grouped.map(([key, some]) => {
        const write = () => {
          if (details.childElementCount === 1) details.append(list(some, key));
        };
        const details = h(
          "details",
          { open: key === open, ontoggle: write },
          h(
            "summary",
            {},
            `${key}: ${counted(some)}, together `,
            M.num(
              d3.sum(some, (term) => term.product),
              { "data-value": null },
            ),
          ),
        );
        if (terms.length <= AT_ONCE || key === open) write();
        return details;
      }),
    );
  }

  /** Sums beside the array's own number, and whether they are the same.

      `sums` are {way, label, result}, each result {terms, sum, missing, rest}. Where products are left out of the page,
      the sum is that of the others, and what the framework says is missing stands below it. */
  function result({ name, inArray, sums }) {
    const lines = sums.flatMap(({ way, label, result: { terms, sum, missing, rest } }) => [
      line(label, M.num(sum, { "data-result": way, "data-missing": missing })),
      missing
        ? line(
            `+ what is left out: ${M.count(missing)} of ${M.count(missing + terms.length)} products`,
            M.num(rest, { "data-rest": way }),
          )
        : null,
      missing && rest !== undefined ? line("together", M.num(sum + rest, { "data-total": way }), "total") : null,
    ]);
    return h(
      "div",
      { class: "result" },
      h("dl", {}, lines, line(`the framework's ${name}`, M.num(inArray, { "data-array": "" }), "array-line")),
      agreement(
        sums.map((each) => each.result),
        inArray,
      ),
    );
  }

  const line = (label, value, style = "") =>
    h("div", { class: `sum-line ${style}` }, h("dt", {}, label), h("dd", {}, value));

  function agreement(results, inArray) {
    if (inArray === undefined || results.some(({ missing, rest }) => missing && rest === undefined)) return null;
    const off = d3.max(results, ({ sum, rest = 0 }) => Math.abs(sum + rest - inArray));
    const allowed = d3.max(results, M.tolerance);
    return h(
      "p",
      { class: "agree", "data-agrees": String(off <= allowed) },
      off <= allowed
        ? `✓ The same number${off === 0 ? ", to the last bit." : `, but for the rounding of ${M.record.dtype}.`}`
        : `✗ They differ by ${M.number(off)}, more than rounding explains.`,
    );
  }

  /** A place for the description of a picked cell. `show(said, …)` fills it, and has a screen reader say `said` alone: the
      rest may be hundreds of products, to be read by whoever goes there. It says whether a question has to be answered
      before all is shown. */
  function panel(about = "what the picked cell tells") {
    const [status, content] = [h("p", { class: "unseen", role: "status" }), h("div", {})];
    return {
      element: h("div", { class: "panel", tabindex: "-1", role: "region", "aria-label": about }, status, content),
      show: (said, ...parts) => {
        content.replaceChildren(...parts.flat().filter(Boolean));
        // Not the answer before the question.
        const asks = content.querySelector(".question") !== null;
        status.textContent = asks ? "There is a question about this cell." : said;
        return asks;
      },
    };
  }

  Object.assign(M, {
    layerView,
    sides,
    channelChooser,
    channelChoosers,
    inputMaps,
    outputMaps,
    absent,
    products,
    result,
    panel,
  });
})();
