/* The page: settings at the top, the list of layers, and the view that the address names.

   The address holds the view (#/layer/conv1), so that the browser's back button and links work as anywhere. */

(() => {
  const M = window.MINICNN;
  const { h, record } = M;

  const VIEWS = {
    Conv2d: M.convView,
    MaxPool2d: M.poolingView,
    AvgPool2d: M.poolingView,
    AdaptiveMaxPool2d: M.poolingView,
    AdaptiveAvgPool2d: M.poolingView,
    BatchNorm2d: M.batchnormView,
    ReLU: M.reluView,
    Dropout: M.dropoutView,
    Residual: M.residualView,
    Linear: M.linearView,
    Flatten: M.flattenView,
    LogSoftmax: M.logSoftmaxView,
  };

  const places = [
    { hash: "#/overview", name: "Overview", make: M.overview },
    ...M.layers.map((layer) => ({
      hash: M.layerLink(layer),
      name: layer.name,
      kind: layer.kind,
      make: () => (VIEWS[layer.kind] ?? M.plainView)(layer),
    })),
    ...(record.loss_view ? [{ hash: "#/loss", name: "loss", kind: record.loss.name, make: M.lossView }] : []),
    ...(record.replay ? [{ hash: "#/replay", name: "replay", kind: "training run", make: M.replayView }] : []),
  ];

  const present = () => places.find((place) => place.hash === location.hash) ?? places[0];

  function settings() {
    const images = M.tensors[0].value.kept(0);
    const options = images.map((n) => ({
      value: n,
      text: record.labels ? `${n}: ${M.className(record.labels[n])}` : String(n),
    }));
    const asking = h("input", {
      type: "checkbox",
      id: "asking",
      onchange: () => {
        M.state.asking = asking.checked;
        show();
      },
    });
    document.getElementById("settings").append(
      ...(images.length > 1
        ? [
            M.chooser({
              name: "image",
              label: "image",
              options,
              value: M.state.image,
              onchange: (n) => {
                M.state.image = n;
                show();
              },
            }),
          ]
        : []),
      h("label", { class: "switch", title: "questions before answers" }, asking, h("span", {}, "Ask me first")),
    );
  }

  function navigation() {
    document.getElementById("layers").append(
      h(
        "ol",
        {},
        places.map((place) =>
          h("li", {}, h("a", { href: place.hash }, place.name, place.kind ? h("small", {}, place.kind) : null)),
        ),
      ),
    );
  }

  /** The places before and after this one, in the order of forward. */
  function neighbours(place) {
    const at = places.indexOf(place);
    const [before, after] = [places[at - 1], places[at + 1]];
    return h(
      "nav",
      { class: "neighbours", "aria-label": "Neighbours" },
      before ? h("a", { href: before.hash }, `↑ ${before.name}`) : null,
      after ? h("a", { href: after.hash, class: "after" }, `${after.name} ↓`) : null,
    );
  }

  function show() {
    const place = present();
    const view = document.getElementById("view");
    view.replaceChildren(place.make(), neighbours(place));
    view.setAttribute("aria-label", place.name);
    document.title = `${place.name} · ${record.title}`;
    for (const link of document.querySelectorAll("#layers a")) {
      const here = link.getAttribute("href") === place.hash;
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      // Only sideways and only within the list: the page itself must stay where the reader is.
      if (here) link.closest("nav").scrollLeft = link.offsetLeft - 16;
    }
  }

  // Not by its address: that would name another view.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("view").focus();
  });
  // In a notebook the page stands in a frame, whose links are read as addresses of the notebook: "#/loss" would open
  // the notebook itself in the frame. The frame's own address is set instead.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#/"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    location.hash = link.getAttribute("href");
  });
  settings();
  navigation();
  show();
  window.addEventListener("hashchange", () => {
    show();
    window.scrollTo(0, 0);
    document.querySelector("#view h1").focus({ preventScroll: true });
  });
})();
