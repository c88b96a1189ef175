/* Colours with a meaning, the same everywhere in the page.

     value      what flows forward        orange below zero, purple above
     gradient   what flows backward       blue: more of this and the loss falls;  red: more of it and the loss rises
     weight     what is learned           brown below zero, green above

   Zero has the colour of the paper: white in light, nearly black in dark, so what is strong stands out in both.
   Gradients are drawn on a square-root scale, for they differ by powers of ten within one map. */

(() => {
  const M = window.MINICNN;
  const SCHEMES = {
    value: [...d3.schemePuOr[11]].reverse(),
    gradient: [...d3.schemeRdBu[11]].reverse(),
    weight: d3.schemeBrBG[11],
  };
  const PAPER = { light: "#ffffff", dark: "#14161a" };
  const STEPS = 256;
  const darkness = window.matchMedia("(prefers-color-scheme: dark)");

  /** The colours from the lowest to the highest number. In the dark the strong ones are the light ones. */
  function ramp(kind, theme) {
    const scheme = SCHEMES[kind];
    const below = theme === "dark" ? [3, 2, 1] : [0, 1, 2, 3, 4];
    const above = below.map((place) => 10 - place).reverse();
    const colours = [...below.map((i) => scheme[i]), PAPER[theme], ...above.map((i) => scheme[i])];
    const css = d3.quantize(d3.piecewise(d3.interpolateLab, colours), STEPS + 1);
    return { css, pixels: Uint32Array.from(css, asPixel) };
  }

  /** A colour as a pixel of an image's data: alpha, blue, green, red, read as one number. */
  function asPixel(colour) {
    const { r, g, b } = d3.rgb(colour);
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  }

  const ramps = { light: {}, dark: {} }; // made when they are first needed
  const currentRamp = (kind) => {
    const theme = darkness.matches ? "dark" : "light";
    return (ramps[theme][kind] ??= ramp(kind, theme));
  };

  /** A scale from -max to max: `colour(value)` in the theme of the moment, `strip()` of all as a CSS background. */
  function scale(kind, max) {
    const end = max > 0 ? max : 1; // a map of zeros only
    const diverging = kind === "gradient" ? d3.scaleDivergingSqrt : d3.scaleDiverging;
    const place = diverging([-end, 0, end], (t) => Math.round(t * STEPS)).clamp(true);
    return {
      kind,
      max,
      colour: (value) => currentRamp(kind).css[place(value)],
      /** A function from numbers to pixels, in the theme of the moment. */
      pixels: () => {
        const { pixels } = currentRamp(kind);
        return (value) => pixels[place(value)];
      },
      strip: () => {
        const colours = d3.range(0, 1.001, 0.1).map((t) => currentRamp(kind).css[place(end * (2 * t - 1))]);
        return `linear-gradient(to right, ${colours.join(", ")})`;
      },
    };
  }

  /** The largest finite distance from zero among the numbers of a decoded array that are in the page.

      Not all of them need be finite: a run that blew up can be replayed. */
  function reach(array) {
    let most = 0;
    for (const value of array.values()) if (Number.isFinite(value)) most = Math.max(most, Math.abs(value));
    return most;
  }

  /** The scale of an activation or of its gradient: one for all images and channels, and for both its neighbours. */
  const scaleOf = (tensor, kind) => {
    const stats = kind === "gradient" ? tensor.gradient_stats : tensor.stats;
    return scale(kind, Math.max(Math.abs(stats.min), Math.abs(stats.max)));
  };

  /** Whether text on this colour should be dark. */
  const isLight = (colour) => d3.lab(colour).l > 58;

  const onThemeChange = (listener) => darkness.addEventListener("change", listener);

  Object.assign(M, { scale, scaleOf, reach, isLight, asPixel, onThemeChange });
})();
