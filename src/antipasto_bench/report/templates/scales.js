// Scales of drawings: from numbers to pixels, with ticks at round numbers.

/** A logarithmic scale has a place for 0 too: before its lowest value, behind a break. */
function scaleOf(values, start, to, { log = false, padding = 0.05, floor = -Infinity, ceiling = Infinity } = {}) {
  const zero = log && values.includes(0);
  const from = zero ? start + (to - start) * 0.08 : start;
  const forth = log ? Math.log10 : (value) => value;
  const known = values.filter((value) => Number.isFinite(value) && (!log || value > 0)).map(forth);
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  if (low === high) {
    const around = log ? 0.3 : Math.abs(low) / 2 || 0.5;
    [low, high] = [low - around, high + around];
  }
  const room = (high - low) * padding;
  low = Math.max(low - room, log ? -Infinity : floor);
  high = Math.min(high + room, log ? Infinity : ceiling);
  const place = (value) => (zero && value === 0 ? start : from + ((to - from) * (forth(value) - low)) / (high - low));
  const ticks = log ? [...(zero ? [0] : []), ...logTicks(low, high)] : linearTicks(low, high);
  return { place, ticks, inside: (value) => forth(value) >= low && forth(value) <= high };
}

function linearTicks(low, high, about = 6) {
  const rough = (high - low) / about;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * unit).find((each) => each >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k += 1)
    ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const factors = high - low > 2.5 ? [1] : high - low > 1 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
  const ticks = [];
  for (let decade = Math.floor(low); decade <= high; decade += 1) {
    for (const factor of factors) {
      const tick = Number((factor * 10 ** decade).toPrecision(6));
      if (Math.log10(tick) >= low && Math.log10(tick) <= high) ticks.push(tick);
    }
  }
  return ticks;
}

/** Frame, ticks and titles; of a drawing of `width` by `height` with margins. */
function axesOf({ x, y, width, height, margin, xTitle, yTitle }) {
  const bottom = height - margin.bottom;
  const right = width - margin.right;
  let last = -Infinity;
  const along = x.ticks.filter((tick) => {
    const free = x.place(tick) - last > 8 + 7 * human(tick).length;
    if (free) last = x.place(tick);
    return free;
  });
  return [
    ...y.ticks.map((tick) =>
      svg("line", { class: "grid", x1: margin.left, x2: right, y1: y.place(tick), y2: y.place(tick) }),
    ),
    ...y.ticks.map((tick) =>
      svg("text", { class: "tick", x: margin.left - 6, y: y.place(tick) + 4, "text-anchor": "end" }, human(tick)),
    ),
    svg("line", { class: "axis", x1: margin.left, x2: right, y1: bottom, y2: bottom }),
    ...along.map((tick) =>
      svg("text", { class: "tick", x: x.place(tick), y: bottom + 17, "text-anchor": "middle" }, human(tick)),
    ),
    ...along.map((tick) =>
      svg("line", { class: "axis", x1: x.place(tick), x2: x.place(tick), y1: bottom, y2: bottom + 4 }),
    ),
    svg("text", { class: "title", x: right, y: height - 5, "text-anchor": "end" }, xTitle),
    svg("text", { class: "title", x: 2, y: 13 }, yTitle),
  ];
}

/** Draw now, and again when the width of the place changes. */
function drawn(place, draw) {
  let width = 0;
  const again = () => {
    const now = Math.floor(place.clientWidth);
    if (now && now !== width) {
      width = now;
      place.replaceChildren(...draw(now));
    }
  };
  new ResizeObserver(again).observe(place);
  again();
  return place;
}
