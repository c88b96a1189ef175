/* The training replay: a recorded run, step by step.

   One number says where in the run the reader is: a position in the list of the recorded steps. Everything that is
   shown gets it by `show`. Arrays were kept of fewer steps; those of the last one before it are shown then. */

(() => {
  const M = window.MINICNN;
  const { h } = M;
  const WHOLE_RUN = 20; // seconds that playing it takes
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const NORMS = [
    { role: "weight_norm", caption: "Norm of each weight", unit: "norm of W", kind: "weight" },
    { role: "gradient_norm", caption: "Norm of its gradient", unit: "norm of G", kind: "gradient" },
    { role: "update_norm", caption: "Norm of its update", unit: "norm of U", kind: "weight" },
    { role: "update_ratio", caption: "Update-to-weight ratio", unit: "norm of U / norm of W", kind: "weight" },
  ];

  /** The slider with its buttons. `go(position)` is called for every change; `show` moves it. */
  function scrubber({ steps, describe, go }) {
    const last = steps.length - 1;
    const range = h("input", {
      type: "range",
      min: 0,
      max: last,
      step: 1,
      "aria-label": "step of the run",
      "data-replay-scrubber": "",
      oninput: () => {
        pause();
        go(Number(range.value));
      },
    });
    const playing = h("button", { type: "button", class: "main", "data-replay-play": "", onclick: toggle }, "Play");
    const beside = (by, sign, word) =>
      h(
        "button",
        {
          type: "button",
          class: "step",
          "aria-label": `${word} recorded step`,
          onclick: () => {
            pause();
            go(Math.min(Math.max(Number(range.value) + by, 0), last));
          },
        },
        sign,
      );
    let timer = null;

    function pause() {
      clearTimeout(timer);
      timer = null;
      playing.textContent = "Play";
    }

    function toggle() {
      if (timer !== null) return pause();
      if (Number(range.value) === last) go(0);
      playing.textContent = "Pause";
      return tick();
    }

    /** The next picture. Where the reader's system asks for little motion, one a second, and not ten. */
    function tick() {
      const wait = calm.matches ? 1000 : 100; // milliseconds
      timer = setTimeout(() => {
        if (!element.isConnected) return pause(); // another view was opened
        const by = Math.max(1, Math.round((last * wait) / (1000 * WHOLE_RUN)));
        go(Math.min(Number(range.value) + by, last));
        return Number(range.value) < last ? tick() : pause();
      }, wait);
    }

    const element = h(
      "div",
      { class: "scrubber" },
      playing,
      beside(-1, "‹", "previous"),
      range,
      beside(1, "›", "next"),
    );
    return {
      element,
      show: (position) => {
        range.value = position;
        range.setAttribute("aria-valuetext", describe(position));
      },
    };
  }

  function replayView() {
    const { replay } = M.record;
    const columns = Object.fromEntries(
      ["step", "epoch", "lr", "loss", ...NORMS.map(({ role }) => role)].map((key) => [key, M.decode(replay[key])]),
    );
    const steps = [...columns.step.values()];
    const now = { frames: [...M.decode(replay.array_step).values()], frame: 0, lr: 0 };

    const moment = h("p", { class: "moment-text" });
    const frameNote = h("p", { class: "aside" });
    const slider = scrubber({
      steps,
      describe: (position) =>
        `step ${steps[position]} of ${steps.at(-1)}, epoch ${columns.epoch.get(position)}, ` +
        `loss ${M.number(columns.loss.get(position))}`,
      go,
    });
    const loss = M.replayCharts.timeline({
      caption: "Loss of each step's batch",
      unit: "loss",
      steps,
      values: columns.loss.values(),
      kind: "value",
      fromZero: true,
    });
    const norms = NORMS.map(({ role, ...rest }) =>
      M.replayCharts.alongDepth({ ...rest, role, names: replay.names, array: columns[role] }),
    );
    const parameterPlace = h("div");
    let parameter = null;
    const activations = replay.activation.length ? M.replayActivations({ replay, now }) : null;

    function chooseParameter(name) {
      parameter = M.replayParameter({ name, replay, now });
      parameterPlace.replaceChildren(parameter.element);
    }

    function go(position) {
      M.state.replay = position;
      now.frame = Math.max(0, d3.bisectRight(now.frames, steps[position]) - 1);
      const frame = now.frames[now.frame];
      now.lr = columns.lr.get(d3.bisectLeft(steps, frame));
      section.dataset.replayStep = steps[position];
      section.dataset.replayFrame = frame;
      moment.replaceChildren(
        ...["step", "epoch", "loss", "lr"].map((key) =>
          h("span", {}, `${key} `, M.num(columns[key].get(position), { "data-replay": key })),
        ),
      );
      frameNote.textContent =
        frame === steps[position]
          ? `Arrays of step ${frame}.`
          : `Arrays of step ${frame}: of step ${steps[position]} itself none were kept.`;
      for (const part of [slider, loss, ...norms]) part.show(position);
      parameter?.draw();
      activations?.draw();
    }

    const section = h(
      "section",
      { class: "replay-view", "data-view": "replay" },
      h("h1", { tabindex: "-1" }, "replay ", h("small", {}, "training run")),
      h(
        "p",
        { class: "story" },
        `A training run of ${M.count(steps.at(-1))} steps, as it was recorded. Each step begins with weights W, ` +
          "gets gradients G, and ends ",
        "with W + U; whatever is shown of a step belongs to the W it began with.",
      ),
      h("div", { class: "scrubber-bar" }, slider.element, moment),
      loss.element,
      h("h2", {}, "Along the depth"),
      h(
        "p",
        { class: "aside" },
        "The line behind a dot is where it was in the whole run. A ratio of about 0.001 is usual; a parameter far " +
          "below it hardly learns, one far above it is thrown about.",
      ),
      h(
        "div",
        { class: "charts" },
        norms.map(({ element }) => element),
      ),
      h("h2", {}, "Weights, gradients, updates"),
      frameNote,
      h(
        "div",
        { class: "controls" },
        M.chooser({
          name: "parameter",
          label: "parameter",
          options: replay.names.map((name, value) => ({ value, text: name })),
          value: Math.max(0, replay.names.indexOf(replay.filters)),
          onchange: (place) => chooseParameter(replay.names[place]),
        }),
      ),
      parameterPlace,
      h("h2", {}, "Activations of an image"),
      activations
        ? activations.element
        : M.absent(
            "The run was recorded without an image. Trainer(record=minicnn.Recorder(path, image)) keeps what every " +
              "layer makes of one.",
          ),
      h(
        "ul",
        { class: "aside" },
        replay.left_out.map((sentence) => h("li", {}, sentence)),
      ),
    );
    if (replay.names.length) chooseParameter(replay.filters ?? replay.names[0]);
    go(M.state.replay ?? 0);
    return section;
  }

  M.replayView = replayView;
})();
