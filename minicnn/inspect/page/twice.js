/* Why log-softmax twice changes nothing, with the numbers of one image. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, letter } = M.formulas;

  /** Log-softmax of log-probabilities: the sum of exp is 1, its log is 0. */
  function logSoftmaxTwice(arrays, n) {
    const classes = arrays.p.kept(1);
    const inside = M.record.loss.name === "CrossEntropyLoss";
    const total = d3.sum(classes, (k) => arrays.p.get(n, k));
    const left = M.layers.at(-1).rest.sum_p?.get(n) ?? 0;
    const most = d3.max(classes, (k) => Math.abs(arrays.second_log_softmax.get(n, k) - arrays.log_p.get(n, k)));
    return h(
      "section",
      { "data-twice": "" },
      h("h2", {}, "Why log-softmax twice changes nothing"),
      h(
        "p",
        {},
        "This network ends in a log-softmax, and CrossEntropyLoss has one " +
          `inside${inside ? "" : ", if it were used here"}. The second one takes from each number the log of the ` +
          "sum of all exp(log p). But exp(log p) is p, and probabilities sum to 1, whose log is 0.",
      ),
      formula(
        "the second log-softmax",
        letter("log p"),
        "−",
        letter("log\u2009"),
        sum("all classes"),
        indexed("p"),
        "=",
        letter("log p"),
        "−",
        letter("log\u2009"),
        figure(total + left),
        "=",
        letter("log p"),
        "−",
        figure(Math.log(total + left)),
      ),
      M.table({
        caption: `Image ${n}: once and twice`,
        head: ["class", "log p, once", "twice"],
        rows: classes.map((k) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, M.className(k)),
            h("td", {}, M.num(arrays.log_p.get(n, k))),
            h("td", {}, M.num(arrays.second_log_softmax.get(n, k))),
          ),
        ),
      }),
      h(
        "p",
        {},
        most
          ? `By rounding they differ, by at most ${number(most)}.`
          : "They are the same to the last bit: what rounding leaves of the log of 1 is too small to show in them.",
      ),
      inside
        ? h(
            "p",
            {},
            "Backward is no different. The gradient that reaches the first log-softmax is factor · (p − target) " +
              "already, and its sum over the classes is 0, for both sum to 1. Log-softmax takes p times that sum " +
              "away: nothing.",
          )
        : null,
    );
  }

  M.logSoftmaxTwice = logSoftmaxTwice;
})();
