/* The overview: what went in and came out, the stack of layers with what lies between them, and the depth charts. */

(() => {
  const M = window.MINICNN;
  const SHORT_LIST = 6; // notes of what is left out
  const { h, record, percent, shapeText, className } = M;

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

  function summary() {
    const n = M.state.image;
    const view = record.loss_view;
    const parameters = d3.sum(M.layers, (layer) => layer.parameters);
    const images = record.input_shape[0];
    const facts = [
      `${images} image${images > 1 ? "s" : ""} of ${shapeText(record.input_shape.slice(1))} went through ` +
        `${M.layers.length} layers with ${M.count(parameters)} parameters, ` +
        `in ${record.mode === "train" ? "training" : "evaluation"} mode and ${record.dtype}.`,
      record.mode_note,
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
      picture(M.tensors[0], n) ?? h("span", {}),
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
              caption:
                `Update-to-weight ratio: one step of plain SGD with rate ${M.number(record.lr)}, as a share of ` +
                "the weights",
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

  function leftOut() {
    const list = h(
      "ul",
      {},
      record.left_out.map((sentence) => h("li", {}, sentence)),
    );
    const long = record.left_out.length > SHORT_LIST;
    return h(
      "section",
      {},
      h("h2", {}, "What is left out of this page"),
      h(
        "p",
        {},
        "A page that opens everywhere cannot hold everything. Where numbers are left out, their part of a sum is " +
          "given as the framework worked it out.",
      ),
      long ? h("details", {}, h("summary", {}, `${record.left_out.length} notes`), list) : list,
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
      M.stack(),
      depthCharts(),
      record.left_out.length ? leftOut() : null,
    );
  }

  M.overview = overview;
})();
