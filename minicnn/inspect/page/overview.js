/* The overview: what went in and came out, the stack of layers with what lies between them, and the depth charts. */

(() => {
  const M = window.MINICNN;
  const { h, record } = M;
  const SHOWN_CHANNELS = 8;

  const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;
  const flops = (n) =>
    `${d3
      .format(".3~s")(n)
      .replace(/(?=[kMGT]?$)/, " ")}FLOP`; // "311 kFLOP"
  const shapeText = (shape) => shape.join(" × ");
  const link = (layer) => `#layer=${encodeURIComponent(layer.name)}`;

  /** The image as a picture: grey or in colours, stretched to its own darkest and lightest. */
  function picture(tensor, n) {
    const { value } = tensor;
    if (value.shape.length !== 4 || ![1, 3].includes(value.kept(1).length)) return null;
    const [rows, columns, channels] = [value.kept(2), value.kept(3), value.kept(1)];
    const { min, max } = tensor.stats;
    const canvas = h("canvas", { class: "picture", role: "img", "aria-label": "the image that went in" });
    [canvas.width, canvas.height] = [columns.length, rows.length];
    const pen = canvas.getContext("2d");
    const pixels = pen.createImageData(columns.length, rows.length);
    rows.forEach((r, row) =>
      columns.forEach((s, column) => {
        const at = 4 * (row * columns.length + column);
        for (const c of [0, 1, 2]) {
          const channel = channels[channels.length === 1 ? 0 : c];
          pixels.data[at + c] = (255 * (value.get(n, channel, r, s) - min)) / (max - min || 1);
        }
        pixels.data[at + 3] = 255;
      }),
    );
    pen.putImageData(pixels, 0, 0);
    return canvas;
  }

  const className = (k) => record.classes?.[k] ?? String(k);

  function summary() {
    const n = M.state.image;
    const view = record.loss_view;
    const parameters = d3.sum(M.layers, (layer) => layer.parameters);
    const images = record.input_shape[0];
    const facts = [
      `${images} image${images > 1 ? "s" : ""} of ${shapeText(record.input_shape.slice(1))} went through ` +
        `${M.layers.length} layers with ${M.count(parameters)} parameters, ` +
        `in ${record.mode === "train" ? "training" : "evaluation"} mode and ${record.dtype}.`,
      record.loss && `${record.loss.name} is ${M.number(record.loss.value)}.`,
      record.labels &&
        (record.labels_are_predicted
          ? `No label was given, so the network's own answer was taken for it: ${className(record.labels[n])}.`
          : `The right answer is ${className(record.labels[n])}.`),
    ];
    const p = view && M.decode(view.p);
    return h(
      "div",
      { class: "summary" },
      picture(M.tensors[0], n),
      h(
        "div",
        {},
        facts.filter(Boolean).map((fact) => h("p", {}, fact)),
        legend(),
      ),
      p &&
        M.charts.bars({
          caption: "What the network answers",
          rows: p.kept(1).map((k) => ({ name: className(k), value: p.get(n, k), right: record.labels?.[n] === k })),
        }),
    );
  }

  function legend() {
    const kinds = {
      value: ["what flows forward", "below zero", "above"],
      gradient: ["what flows backward", "more of it: the loss falls", "the loss rises"],
      weight: ["what is learned", "below zero", "above"],
    };
    return h(
      "dl",
      { class: "colours" },
      Object.entries(kinds).map(([kind, [what, below, above]]) => {
        const strip = h("span", { class: "strip", "aria-hidden": "true" });
        strip.redraw = () => {
          strip.style.background = M.scale(kind, 1).strip();
        };
        strip.redraw();
        return h("div", {}, h("dt", { class: `letter-${kind}` }, what), h("dd", {}, below, " ", strip, " ", above));
      }),
    );
  }

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

  function depthCharts() {
    const gradients = M.layers.map((layer) => ({ name: layer.name, value: layer.output.gradient_stats.norm }));
    const learned = M.layers
      .flatMap((layer) =>
        Object.entries(layer.param_stats).map(([key, stats]) => ({
          name: `${layer.name}.${key}`,
          value: stats.update_ratio,
        })),
      )
      .filter((row) => row.value !== null);
    const dead = M.layers.filter((layer) => layer.dead !== undefined);
    return h(
      "section",
      {},
      h("h2", {}, "Along the depth"),
      h(
        "p",
        {},
        "Backward starts at the bottom, at the loss, and works its way up. Where a norm shrinks from layer to " +
          "layer, the early layers learn slowly; where it grows, they may be thrown about.",
      ),
      h(
        "div",
        { class: "charts" },
        M.charts.depth({
          caption: "Norm of the gradient dy that reaches each layer",
          unit: "norm of dy",
          rows: gradients,
          kind: "gradient",
        }),
        learned.length
          ? M.charts.depth({
              caption: `Update-to-weight ratio: one step of plain SGD with rate ${M.number(record.lr)}, as a share of the weights`,
              unit: "ratio",
              kind: "weight",
              rows: learned,
            })
          : null,
        dead.length
          ? M.table({
              caption: "Dead ReLUs: channels that are 0 for every pixel of every image",
              head: ["layer", "share"],
              rows: dead.map((layer) =>
                h("tr", {}, h("th", { scope: "row" }, layer.name), h("td", {}, percent(layer.dead))),
              ),
            })
          : null,
      ),
    );
  }

  function overview() {
    return h(
      "section",
      { class: "overview", "data-view": "overview" },
      h("h1", { tabindex: "-1" }, record.title),
      summary(),
      h("h2", {}, "The stack"),
      h(
        "p",
        {},
        "Forward runs down the page, backward up. Beside each layer is what it hands on: its activations, and " +
          "below them the gradient of the loss with respect to each. ",
        "Open a layer to see the sums that made its gradients.",
      ),
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
                record.loss_view ? h("a", { href: "#loss" }, "loss") : "loss",
                " ",
                h("small", {}, record.loss.name),
              ),
              h("p", {}, M.num(record.loss.value)),
            ),
          ),
      ),
      depthCharts(),
      record.left_out.length
        ? h(
            "section",
            {},
            h("h2", {}, "What is left out of this page"),
            h(
              "ul",
              {},
              record.left_out.map((sentence) => h("li", {}, sentence)),
            ),
          )
        : null,
    );
  }

  Object.assign(M, { overview, className, percent, layerLink: link });
})();
