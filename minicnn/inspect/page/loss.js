/* The view of the loss: p − onehot, and why a second log-softmax changes nothing. */

(() => {
  const M = window.MINICNN;
  const { h, number, record } = M;
  const { indexed, figure, sum, formula, letter } = M.formulas;
  const ASKED = 12; // classes in a question

  function lossView() {
    const view = record.loss_view;
    const arrays = Object.fromEntries(
      ["log_p", "p", "onehot", "scale", "dlogits", "second_log_softmax"].map((key) => [key, M.decode(view[key])]),
    );
    const n = M.state.image;
    const label = record.labels[n];
    const classes = arrays.p.kept(1);
    const panel = M.panel();
    const table = h("div", {});
    const scale = arrays.scale.get(n);

    /** dlogits as the formula has it, from the arrays of the record: scale · (p − target). */
    const made = (k) => {
      const product = scale * (arrays.p.get(n, k) - arrays.onehot.get(n, k));
      return {
        terms: [{ product: scale * arrays.p.get(n, k) }, { product: -scale * arrays.onehot.get(n, k) }],
        sum: product,
        missing: 0,
      };
    };

    function choose(k) {
      drawTable(k);
      const inArray = arrays.dlogits.get(n, k);
      const isTarget = k === label;
      panel.show(
        `The gradient of the score of class ${k} is ${number(inArray)}.`,
        h("h2", {}, `The score of class ${M.className(k)}`),
        h(
          "p",
          {},
          isTarget
            ? "This is the right answer. Its probability should be 1, so its score is to rise: the gradient is " +
                "negative."
            : "This is not the right answer. Its probability should be 0, so its score is to fall: the gradient is " +
                "positive, and larger the more the network believed in it.",
        ),
        M.asked(
          {
            ask:
              `p is ${number(arrays.p.get(n, k))}, the target is ${number(arrays.onehot.get(n, k))} and the factor ` +
              `${number(scale)}. What is the gradient?`,
            answer: inArray,
            why: "It is the factor times (p − target).",
          },
          () =>
            h(
              "div",
              {},
              formula(
                "the gradient of a score",
                indexed("dlogits", n, k),
                "=",
                figure(scale),
                "·",
                "(",
                figure(arrays.p.get(n, k)),
                "−",
                figure(arrays.onehot.get(n, k)),
                ")",
                "=",
                figure(made(k).sum, true),
              ),
              M.result({
                name: `dlogits[${n}, ${k}]`,
                inArray,
                sums: [{ way: "loss", label: "factor · (p − target)", result: made(k) }],
              }),
            ),
        ),
      );
    }

    function drawTable(chosen) {
      const row = (k) =>
        h(
          "tr",
          { class: k === chosen ? "chosen" : null },
          h(
            "th",
            { scope: "row" },
            h(
              "button",
              {
                type: "button",
                class: "pick-row",
                "aria-pressed": String(k === chosen),
                "data-class": k,
                onclick: () => {
                  choose(k);
                  table.querySelector(`[data-class="${k}"]`).focus();
                },
              },
              M.className(k),
              k === label ? " ✓" : "",
            ),
          ),
          h("td", {}, M.num(arrays.log_p.get(n, k))),
          h("td", {}, M.num(arrays.p.get(n, k))),
          h("td", {}, M.num(arrays.onehot.get(n, k))),
          h("td", { class: "product" }, M.state.asking ? "?" : M.num(arrays.dlogits.get(n, k))),
        );
      table.replaceChildren(
        M.table({
          caption: `Image ${n}, class by class; ✓ marks the right answer`,
          head: ["class", "log p", "p", "target", "gradient"],
          rows: classes.map(row),
        }),
      );
    }

    const lossTerms = M.added(
      arrays.p.kept(0).flatMap((image) =>
        classes.map((k) => {
          const q = arrays.scale.get(image) * arrays.onehot.get(image, k);
          return { n: image, k, product: q === 0 ? 0 : -q * arrays.log_p.get(image, k) };
        }),
      ),
    );
    const rest = M.decode(view.rest?.loss)?.get(0);
    const all = record.input_shape[0] * arrays.p.shape[1];
    const lossSum = { ...lossTerms, rest, missing: all - lossTerms.terms.length };

    choose(classes.includes(label) ? label : classes[0]);
    return h(
      "section",
      { class: "layer-view loss-view", "data-layer": "loss", "data-kind": record.loss.name },
      h(
        "header",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "loss ", h("small", {}, record.loss.name)),
        h(
          "p",
          { class: "story" },
          "The loss is small where the right class has a large probability. Its gradient with respect to " +
            "the scores could not be simpler: what the network believed, minus what it should have believed.",
        ),
      ),
      formula(
        "the loss",
        letter("loss"),
        "=",
        "−",
        sum("n, k"),
        indexed("factor", "n"),
        "·",
        indexed("target", "n", "k"),
        "·",
        letter("log\u2009"),
        indexed("p", "n", "k"),
      ),
      formula(
        "its gradient",
        indexed("dlogits", "n", "k"),
        "=",
        indexed("factor", "n"),
        "·",
        "(",
        indexed("p", "n", "k"),
        "−",
        indexed("target", "n", "k"),
        ")",
      ),
      h(
        "p",
        { class: "aside" },
        `The target is 1 for the right class and 0 for the others, unless labels are smoothed. The factor of ` +
          `this image is ${number(scale)}: the loss is a mean over ${record.input_shape[0]} image` +
          `${record.input_shape[0] > 1 ? "s" : ""}.`,
      ),
      M.result({
        name: "loss",
        inArray: record.loss.value,
        sums: [{ way: "nll", label: "− sum of target · log p", result: lossSum }],
      }),
      M.asked(nonzero(), () =>
        h(
          "p",
          { class: "aside" },
          "Log-softmax then spreads it over all scores: taking from each the same " +
            "log of a sum, it turns −target into p − target.",
        ),
      ),
      h("div", { class: "maps-and-panel" }, table, panel.element),
      arrays.second_log_softmax ? M.logSoftmaxTwice(arrays, n) : null,
    );

    function nonzero() {
      // The right one among them, or the answer of a long list would be "none of these".
      const shown = classes.slice(0, ASKED);
      if (classes.includes(label) && !shown.includes(label)) shown[ASKED - 1] = label;
      return {
        ask:
          "The loss looks at log p. Which classes get a gradient there, before log-softmax? " +
          `(${shown.map(M.className).join(", ")})`,
        why: "Only those with a target: the loss multiplies log p by it, and 0 times anything has the gradient 0.",
        rows: 1,
        columns: shown.length,
        name: (_, column) => `class ${M.className(shown[column])}`,
        truth: (_, column) => arrays.onehot.get(n, shown[column]) !== 0,
      };
    }
  }

  M.lossView = lossView;
})();
