/* Questions before answers.

   Where "ask me first" is on, an answer comes after a question: one types a number or clicks the cells, the page
   checks it and says how far off one is, and only then shows what it knows. One may always ask to be shown. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const CLOSE = 0.02; // a number within 2 % is right: it was worked out in the head or by a pocket calculator

  /** The question first, then what `reveal()` makes; at once where nobody wants to be asked.

      A question is {ask, why} and either {answer}, a number ({whole: true} for a count), or
      {rows, columns, truth(row, column), name(row, column)}, a patch of cells of which some are right. */
  function asked(question, reveal) {
    const place = h("div", {
      class: "asked",
      tabindex: "-1",
      role: "group",
      "aria-label": "a question and its answer",
    });
    if (!M.state.asking) {
      place.append(reveal());
      return place;
    }
    const verdict = h("p", { class: "verdict", role: "status" });
    const answering = question.truth ? cells(question) : numeric(question);
    const done = (words) => {
      verdict.replaceChildren(h("b", {}, words), " ", question.why);
      place.replaceChildren(h("p", { class: "was-asked" }, question.ask), answering.solved(), verdict, reveal());
      place.focus();
    };
    const form = h(
      "form",
      {
        class: "question",
        "data-question": question.truth ? "cells" : "number",
        onsubmit: (event) => {
          event.preventDefault();
          const said = answering.check();
          if (said === null) done("Right.");
          else verdict.replaceChildren(said);
        },
      },
      h("p", { class: "ask" }, question.ask),
      answering.element,
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "submit", class: "main" }, "Check"),
        h("button", { type: "button", onclick: () => done("The answer:") }, "Show me"),
      ),
      verdict,
    );
    place.append(form);
    return place;
  }

  /** A number to type. `check` says null for right, or what is wrong with it. */
  function numeric({ ask, answer, whole }) {
    const input = h("input", {
      type: "text",
      inputmode: "text",
      autocomplete: "off",
      "aria-label": ask,
      class: "typed",
      size: "12",
    });
    return {
      element: input,
      check: () => {
        const typed = Number(input.value.trim().replaceAll("−", "-").replace(",", "."));
        if (input.value.trim() === "" || Number.isNaN(typed)) return "Please type a number, such as −0.012 or 3e-5.";
        if (whole) return typed === answer ? null : typed < answer ? "There are more." : "There are fewer.";
        if (Math.abs(typed - answer) <= CLOSE * Math.abs(answer)) return null;
        if (answer === 0) return "Smaller than that.";
        if (typed !== 0 && Math.sign(typed) !== Math.sign(answer)) return "Look at the sign again.";
        return Math.abs(typed) < Math.abs(answer) ? "Further away from zero than that." : "Nearer to zero than that.";
      },
      solved: () => h("p", { class: "solution", "data-answer": "" }, M.num(answer)),
    };
  }

  /** A patch of cells to switch on and off. Wrong and missing ones are counted, not pointed at. */
  function cells({ ask, rows, columns, truth, name }) {
    const chosen = new Set();
    const grid = (make) =>
      h(
        "div",
        {
          class: "patch",
          role: "group",
          "aria-label": ask,
          style: `--columns: ${columns}`,
        },
        M.range(rows).flatMap((row) => M.range(columns).map((column) => make(row, column))),
      );
    const button = (row, column) => {
      const key = row * columns + column;
      return h("button", {
        type: "button",
        "aria-pressed": "false",
        "aria-label": name(row, column),
        title: name(row, column),
        "data-row": row,
        "data-column": column,
        onclick: (event) => {
          if (!chosen.delete(key)) chosen.add(key);
          event.currentTarget.setAttribute("aria-pressed", String(chosen.has(key)));
        },
      });
    };
    const places = M.range(rows * columns);
    const isTrue = (key) => truth(Math.floor(key / columns), key % columns);
    return {
      element: grid(button),
      check: () => {
        const wrong = places.filter((key) => chosen.has(key) && !isTrue(key)).length;
        const missing = places.filter((key) => !chosen.has(key) && isTrue(key)).length;
        if (!wrong && !missing) return null;
        const tooMany = wrong ? `${wrong} too many` : "none too many";
        return `Not yet: ${tooMany}, ${missing ? `${missing} missing` : "none missing"}.`;
      },
      solved: () =>
        grid((row, column) => {
          const key = row * columns + column;
          const says = isTrue(key) ? "yes" : "no";
          return h("span", {
            class: `solved ${isTrue(key) ? "yes" : ""} ${chosen.has(key) ? "chosen" : ""}`,
            role: "img",
            "aria-label": `${name(row, column)}: ${says}`,
          });
        }),
    };
  }

  /** A question about the cells of dx within `rows` and `columns`, [start, stop) each, cut to a map of that size. */
  function patch({ ask, why, rows, columns, size: [height, width], truth }) {
    const cut = ([start, stop], size) => [Math.max(start, 0), Math.min(stop, size)];
    const [[r0, r1], [s0, s1]] = [cut(rows, height), cut(columns, width)];
    return {
      ask: `${ask} These are the rows ${r0} to ${r1 - 1} and the columns ${s0} to ${s1 - 1}.`,
      why,
      rows: r1 - r0,
      columns: s1 - s0,
      name: (row, column) => `row ${r0 + row}, column ${s0 + column}`,
      truth: (row, column) => truth(r0 + row, s0 + column),
    };
  }

  Object.assign(M, { asked, patch });
})();
