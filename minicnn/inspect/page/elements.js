/* Making elements. Text goes in as text nodes only, never as HTML: names and classes come from the user's network. */

(() => {
  const M = window.MINICNN;
  const SVG = "http://www.w3.org/2000/svg";
  const MATHML = "http://www.w3.org/1998/Math/MathML";

  /** An element with attributes, and children that are nodes, text, lists of them, or null for nothing.

      A function as attribute (onclick) listens; true is an attribute without a value, false and null leave it out. */
  const maker =
    (create) =>
    (tag, attributes = {}, ...children) => {
      const element = create(tag);
      for (const [name, value] of Object.entries(attributes)) {
        if (typeof value === "function") element.addEventListener(name.slice(2), value);
        else if (value === true) element.setAttribute(name, "");
        else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
      }
      element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
      return element;
    };

  const h = maker((tag) => document.createElement(tag));
  const svg = maker((tag) => document.createElementNS(SVG, tag));
  const mathml = maker((tag) => document.createElementNS(MATHML, tag));

  let made = 0;
  /** An id that no other element of the page has. */
  const freshId = (stem) => `${stem}-${(made += 1)}`;

  /** A number as text; the exact one in its title for a reader and in data-value for a test. */
  function num(value, attributes = {}) {
    const exact = value === undefined ? null : String(value);
    return h("span", { class: "num", title: exact, "data-value": exact, ...attributes }, M.number(value));
  }

  /** A list to choose from, with a button to either side for the next one. */
  function chooser({ label, options, value, onchange, name }) {
    const id = freshId("chooser");
    const select = h(
      "select",
      { id, "data-choose": name, onchange: () => changed() },
      options.map((option) => h("option", { value: option.value }, option.text)),
    );
    select.value = String(value);
    const step = (by, sign, word) =>
      h(
        "button",
        {
          type: "button",
          class: "step",
          "aria-label": `${word} ${label}`,
          onclick: () => {
            select.selectedIndex = (select.selectedIndex + by + options.length) % options.length;
            changed();
          },
        },
        sign,
      );
    const changed = () => onchange(Number(select.value));
    const several = options.length > 1;
    return h(
      "div",
      { class: "chooser" },
      h("label", { for: id }, label),
      several ? step(-1, "‹", "previous") : null,
      select,
      several ? step(1, "›", "next") : null,
    );
  }

  /** One of a few, all of them in sight: a group of radio buttons. */
  function choice({ legend, options, value, onchange, name }) {
    const group = freshId("choice");
    return h(
      "fieldset",
      { class: "choice", "data-choose": name },
      h("legend", {}, legend),
      h(
        "div",
        { class: "choice-options" },
        options.map((option) =>
          h(
            "label",
            {},
            h("input", {
              type: "radio",
              name: group,
              value: option.value,
              checked: option.value === value,
              onchange: () => onchange(option.value),
            }),
            h("span", {}, option.text),
          ),
        ),
      ),
    );
  }

  /** A table of numbers with its caption; the first cell of each row is its head. */
  function table({ caption, head, rows, attributes = {} }) {
    return h(
      "div",
      { class: "table-frame", tabindex: "0", role: "region", "aria-label": caption },
      h(
        "table",
        attributes,
        h("caption", {}, caption),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            head.map((text) => (text ? h("th", { scope: "col" }, text) : h("td"))),
          ),
        ),
        h("tbody", {}, rows),
      ),
    );
  }

  Object.assign(M, { h, svg, mathml, freshId, num, chooser, choice, table });
})();
