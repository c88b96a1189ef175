/* The stack of the overview: each layer, what it keeps and costs, and what it hands on, forward and backward. */

(() => {
  const M = window.MINICNN;
  const { h, record } = M;
  const SHOWN_CHANNELS = 8;

  /** A share with 2 digits; 0 % and 100 % are kept for none and all. */
  function percent(share) {
    if (share > 0 && share < 0.001) return "less than 0.1 %";
    if (share < 1 && share > 0.99) return "more than 99 %";
    return `${Number((100 * share).toPrecision(2))} %`;
  }

  const flops = (n) =>
    `${d3
      .format(".3~s")(n)
      .replace(/(?=[kMGT]?$)/, " ")}FLOP`; // "311 kFLOP"
  const shapeText = (shape) => shape.join(" × ");
  const link = (layer) => `#/layer/${encodeURIComponent(layer.name)}`;

  const className = (k) => record.classes?.[k] ?? String(k);

  /** A row of small maps, or one strip where each channel is a single number. */
  function strip(tensor, kind) {
    const array = kind === "gradient" ? tensor.gradient : tensor.value;
    const word = kind === "gradient" ? "gradients" : "activations";
    const scale = M.scaleOf(tensor, kind);
    const n = M.state.image;
    const channels = M.channelsOf(array);
    const single = channels.length > 0 && array.shape[2] * array.shape[3] === 1;
    const planes = single
      ? [
          {
            rows: 1,
            columns: channels.length,
            index: (_, i) => [n, channels[i], 0, 0],
            get: (_, i) => array.get(n, channels[i], 0, 0),
          },
        ]
      : channels.length
        ? channels.slice(0, SHOWN_CHANNELS).map((c) => M.planeOf(array, n, c))
        : [M.planeOf(array, n, 0)];
    const more = single || !channels.length ? 0 : array.shape[1] - planes.length;
    const long = single || !channels.length;
    return h(
      "div",
      { class: `strip-maps ${long ? "long" : ""}` },
      planes.map((plane, i) => M.thumbnail(plane, scale, long ? word : `${word}, channel ${channels[i]}`)),
      more > 0 ? h("span", { class: "more" }, `+ ${more}`) : null,
    );
  }

  function flow(tensor) {
    const { stats, gradient_stats: back } = tensor;
    const line = (numbers, word) =>
      h(
        "p",
        { class: "stats" },
        `${M.short(numbers.min)} to ${M.short(numbers.max)}; ${percent(numbers.zeros)} are exactly 0; ${word} `,
        M.num(numbers.norm),
      );
    return h(
      "div",
      { class: "flow" },
      h(
        "div",
        { class: "flow-row forward" },
        h("span", { class: "flow-word letter-value" }, "forward"),
        strip(tensor, "value"),
        line(stats, "norm"),
      ),
      h(
        "div",
        { class: "flow-row backward" },
        h("span", { class: "flow-word letter-gradient" }, "backward"),
        strip(tensor, "gradient"),
        line(back, "norm of the gradient"),
      ),
    );
  }

  /** " (16.4 kB)", and with whom the memory is shared; nothing for what is there anyway. */
  function keptSize({ bytes, shared_with: other }) {
    if (!bytes) return "";
    return other ? ` (${M.size(bytes)}, the same memory that ${other} keeps)` : ` (${M.size(bytes)})`;
  }

  /** One layer of the stack: what it is and keeps on the left, what it hands on on the right. */
  function card(layer) {
    const {
      flops: { forward, backward },
      bytes,
    } = layer;
    const facts = [
      layer.parameters ? `${M.count(layer.parameters)} parameters` : "no parameters",
      forward === null ? "its cost is not known" : `${flops(forward)} forward, ${flops(backward)} backward`,
      bytes.forward === null
        ? null
        : `${M.size(bytes.forward)} read and written forward, ${M.size(bytes.backward)} backward`,
    ].filter(Boolean);
    return h(
      "li",
      { class: "card", "data-card": layer.name },
      h(
        "div",
        { class: "card-text" },
        h("h3", {}, h("a", { href: link(layer) }, layer.name), " ", h("small", {}, layer.kind)),
        h("p", { class: "shape" }, `${shapeText(layer.input.shape)} → ${shapeText(layer.output.shape)}`),
        h(
          "ul",
          { class: "facts" },
          facts.map((fact) => h("li", {}, fact)),
        ),
        layer.keeps.length
          ? h(
              "p",
              { class: "keeps" },
              "Keeps for backward: ",
              layer.keeps.map((kept, i) => [i ? "; " : "", h("b", {}, kept.what), keptSize(kept), `: ${kept.why}`]),
              ".",
            )
          : h("p", { class: "keeps" }, "Keeps nothing for backward."),
        layer.dead === undefined
          ? null
          : h(
              "p",
              { class: layer.dead > 0 ? "dead some" : "dead" },
              layer.dead > 0
                ? `${percent(layer.dead)} of its channels are dead here: 0 for every pixel of every image, ` +
                    "so that no gradient passes."
                : "None of its channels is dead.",
            ),
      ),
      flow(layer.output),
    );
  }

  /** The input, all layers, and the loss. */
  const stack = () =>
    h(
      "ol",
      { class: "stack" },
      h(
        "li",
        { class: "card" },
        h(
          "div",
          { class: "card-text" },
          h("h3", {}, "input"),
          h("p", { class: "shape" }, shapeText(record.input_shape)),
        ),
        flow(M.tensors[0]),
      ),
      M.layers.map(card),
      record.loss &&
        h(
          "li",
          { class: "card" },
          h(
            "div",
            { class: "card-text" },
            h(
              "h3",
              {},
              record.loss_view ? h("a", { href: "#/loss" }, "loss") : "loss",
              " ",
              h("small", {}, record.loss.name),
            ),
            h("p", {}, M.num(record.loss.value)),
          ),
        ),
    );

  Object.assign(M, { stack, className, percent, shapeText, layerLink: link });
})();
