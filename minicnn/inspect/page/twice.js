/* Why log-softmax twice changes nothing, with the numbers of one image. */

(() => {
  const M = window.MINICNN;
  const { h, number } = M;
  const { indexed, figure, sum, formula, letter } = M.formulas;

  /** Log-softmax of log-probabilities: the sum of exp is 1, its log is 0. */
  function logSoftmaxTwice(arrays, n) {
    const classes = arrays.p.kept(1);
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
        "This network ends in a log-softmax, and CrossEntropyLoss has one inside. The second one takes from each " +
          "number the log of the sum of all exp(log p). But exp(log p) is p, and probabilities sum to 1, whose log " +
          "is 0.",
      ),
      formula(
        "the second log-softmax",
        letter("log p"),
        "−",
        letter("log"),
        sum("all classes"),
        indexed("p"),
        "=",
        letter("log p"),
        "−",
        letter("log"),
        figure(total + left, true),
        "=",
        letter("log p"),
        "−",
        figure(Math.log(total + left)),
      ),
      M.table({
        caption: `Image ${n}: once and twice; they differ by at most ${number(most)}, by rounding alone`,
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
        "Backward is no different. The gradient that reaches the first log-softmax is p − target already, and " +
          "its sum over the classes is 1 − 1 = 0. Log-softmax takes p times that sum away: nothing.",
      ),
    );
  }

  M.logSoftmaxTwice = logSoftmaxTwice;
})();
