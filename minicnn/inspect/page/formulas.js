/* Formulas in MathML: with letters, and filled in with the numbers of a chosen cell. */

(() => {
  const M = window.MINICNN;
  const { mathml, h } = M;

  // The letters of a formula have the colours of the maps they stand for.
  const COLOUR_OF = {
    x: "value",
    y: "value",
    x_hat: "value",
    dx: "gradient",
    dy: "gradient",
    dweight: "gradient",
    dbias: "gradient",
    weight: "weight",
    bias: "weight",
    p: "value",
    dlogits: "gradient",
  };

  const operator = (text) => mathml("mo", {}, text);

  /** A name with indices: dx[n, c, r, s]. The indices are letters or numbers. */
  function indexed(name, ...indices) {
    const letter = mathml(
      "mi",
      {
        class: `letter-${COLOUR_OF[name] ?? "plain"}`,
        mathvariant: "normal", // x upright like dx
      },
      name === "x_hat" ? "x̂" : name,
    );
    if (indices.length === 0) return letter;
    const list = indices.flatMap((index, place) => [
      place ? operator(",") : null,
      mathml(typeof index === "number" ? "mn" : "mi", {}, String(index)),
    ]);
    // As deep as a letter with a tail, or without a font for mathematics the indices of x would stand higher than y's.
    const base = mathml("mpadded", { depth: "0.2em" }, letter);
    return mathml("msub", {}, base, mathml("mrow", {}, list));
  }

  /** A number, in parentheses where it follows a sign. */
  function figure(value, bare = false) {
    const text = M.number(value);
    const node = mathml("mn", value === undefined ? {} : { title: String(value) }, text);
    return text.startsWith("−") && !bare ? mathml("mrow", {}, operator("("), node, operator(")")) : node;
  }

  const sum = (under) => mathml("munder", {}, operator("∑"), mathml("mrow", {}, mathml("mtext", {}, under)));
  const fraction = (above, below) => mathml("mfrac", {}, mathml("mrow", {}, above), mathml("mrow", {}, below));
  const letter = (text) => mathml("mi", {}, text);

  /** A part as MathML: a text is an operator, a number is written with 6 digits. */
  function asMath(part, place) {
    // One that begins a piece still stands between two things, and wants room on both sides.
    if (typeof part === "string") return mathml("mo", place ? {} : { form: "infix" }, part);
    return typeof part === "number" ? figure(part) : part;
  }

  /** A formula in pieces that begin with = or a sign, for no browser breaks a line within a formula.

      A sign that follows an operator belongs to a number: "= −3". */
  function formula(label, ...parts) {
    const pieces = [[]];
    for (const part of parts.flat(Infinity).filter((each) => each !== null)) {
      const piece = pieces.at(-1);
      const breaks = ["=", "+=", "+", "−"].includes(part) && piece.length && typeof piece.at(-1) !== "string";
      if (breaks) pieces.push([part]);
      else piece.push(part);
    }
    return h(
      "div",
      { class: "formula", role: "group", "aria-label": label },
      pieces.map((piece) => mathml("math", { displaystyle: "true" }, piece.map(asMath))),
    );
  }

  /** a × b + c × d + ⋯ for the first few terms; `factors` names the two numbers of a term that make its product. */
  function filledIn(terms, factors, shown = 4) {
    if (terms.length === 0) return [mathml("mtext", {}, "no product")];
    const parts = terms
      .slice(0, shown)
      .flatMap((term, place) => [
        place ? "+" : null,
        ...factors.flatMap((factor, which) => [which ? "·" : null, figure(term[factor])]),
      ]);
    return terms.length > shown ? [...parts, "+", "⋯"] : parts;
  }

  Object.assign(M, { formulas: { indexed, figure, sum, fraction, letter, formula, filledIn } });
})();
