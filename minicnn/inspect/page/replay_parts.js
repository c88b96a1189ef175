/* What the maps of the replay share: arrays of the step of the moment, rows of thumbnails, the panel about one cell. */

(() => {
  const M = window.MINICNN;
  const { h } = M;

  /** Of an array (steps, …) of the page that of one step, `now.frame`: where the step changes, a map of it has only to
      be drawn again. */
  function atStep(encoded, now) {
    const array = M.decode(encoded);
    return {
      shape: array.shape.slice(1),
      whole: array.whole,
      kept: (axis) => array.kept(axis + 1),
      get: (...indices) => array.get(now.frame, ...indices),
      /** One of its numbers in the course of the run. */
      course: (index) => now.frames.map((_, frame) => array.get(frame, ...index)),
      reach: M.reach(array), // of the whole run, so that a colour means the same number at every step
    };
  }

  /** A row of small maps, each a button: `planes` is a list of {value, name, plane}. */
  function thumbnails({ planes, scale, chosen, onpick }) {
    const canvases = planes.map(({ name, plane }) => M.thumbnail(plane, scale, name));
    const buttons = planes.map(({ value, name }, at) =>
      h(
        "button",
        {
          type: "button",
          class: "pick-map",
          "aria-label": `show ${name} large`,
          "aria-pressed": String(value === chosen),
          onclick: () => onpick(value),
        },
        canvases[at],
      ),
    );
    return {
      element: h("div", { class: "strip-maps" }, buttons),
      draw: () => canvases.forEach((canvas) => canvas.redraw()),
      choose: (value) =>
        buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(planes[at].value === value))),
    };
  }

  /** The panel about one cell: its numbers at the step of the moment, and one of them in the course of the run.

      numbers(index): a list of {label, value, role}.          course(index): {caption, unit, values, kind}. */
  function cellPanel({ name, numbers, course, aside, now }) {
    const panel = M.panel(`what the picked cell of ${name} tells`);
    const invitation = h("p", { class: "aside" }, "Pick a cell of a map to follow its number through the run.");
    let picked = null;

    const line = ({ label, value, role }) =>
      h("div", { class: "sum-line" }, h("dt", {}, label), h("dd", {}, M.num(value, { "data-replay-cell": role })));

    panel.show("", invitation);
    return {
      element: panel.element,
      pick: (index) => {
        const lines = h("dl");
        const followed = M.replayCharts.timeline({ ...course(index), steps: now.frames });
        const write = () => {
          lines.replaceChildren(...numbers(index).map(line));
          followed.show(now.frame);
        };
        write();
        picked = write;
        const title = `${name}[${index.join(", ")}]`;
        panel.show(`${title} at step ${now.frames[now.frame]}`, [
          h("h2", {}, title),
          h("div", { class: "result" }, lines),
          aside ? h("p", { class: "aside" }, aside) : null,
          followed.element,
        ]);
      },
      draw: () => picked?.(),
    };
  }

  Object.assign(M, { replayParts: { atStep, thumbnails, cellPanel } });
})();
