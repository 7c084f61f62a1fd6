// Points with intervals, names, a frontier and a line for the untuned model.

const MOST_NAMES = 20; // beside the points of a narrow drawing
const FEW_NAMES = "Named are the reference and what is best at its price; point at another one for its name.";

const SHAPES = {
  better: "triangle",
  "no worse": "square",
  "worse, not by the margin": "cross",
  reference: "diamond",
  worse: "cross",
};

function markOf(point) {
  const { px, py } = point;
  const shape = SHAPES[point.verdict] ?? "circle";
  const at = { class: "point", "data-verdict": point.verdict ?? null, "data-name": point.name };
  if (shape === "circle") return svg("circle", { ...at, cx: px, cy: py, r: point.verdict === "" ? 4 : 4.5 });
  const paths = {
    triangle: `M${px},${py - 6}l5.5,10h-11z`,
    square: `M${px - 4.5},${py - 4.5}h9v9h-9z`,
    diamond: `M${px},${py - 8}l8,8l-8,8l-8,-8z`,
    cross: `M${px - 4},${py - 4}l8,8m0,-8l-8,8`,
  };
  return svg("path", { ...at, d: paths[shape] });
}

/** The points that no other beats: none has a price as low and a score as good, one of them better. */
function frontierOf(points, higher, cheaper) {
  const [up, down] = [higher ? 1 : -1, cheaper ? 1 : -1];
  const beaten = (p) =>
    points.some((q) => q !== p && down * (p.x - q.x) >= 0 && up * (q.y - p.y) >= 0 && (q.x !== p.x || q.y !== p.y));
  return points.filter((point) => !beaten(point)).sort((a, b) => a.x - b.x);
}

function stepsThrough(points, right) {
  if (!points.length) return "";
  const path = points.map((point, i) => (i === 0 ? `M${point.px},${point.py}` : `H${point.px}V${point.py}`));
  return `${path.join("")}H${right}`;
}

/**
 * A drawing of points {name, x, y, low, high, verdict, link, said} with any two axes.
 *
 * `line` is {value, text}: a level that is drawn whether or not it lies within the points' range. `logs` lets the axis
 * up be logarithmic where its values need it. A verdict of null is a point that is not judged, and "" one that could be.
 */
function scatter({
  points,
  xTitle,
  yTitle,
  xBetter,
  yBetter,
  percent,
  line = null,
  names = true,
  frontier = true,
  height = 420,
  logs = false,
  unjudged = "",
  label,
}) {
  const place = el("div", { class: "chart" });
  const tip = el("div", { class: "tip", hidden: true, "aria-hidden": "true" });
  const few = el("p", { class: "quiet", hidden: true }, FEW_NAMES);
  const isReference = (point) => point.verdict === "reference";
  const shown = points
    .filter((point) => Number.isFinite(point.x) && Number.isFinite(point.y))
    .sort((a, b) => isReference(a) - isReference(b)); // the reference on top of what lies at its place
  const sizes = shown.map((point) => point.x).filter((x) => x !== 0);
  const log = sizes.length > 0 && sizes.every((x) => x > 0) && Math.max(...sizes) > 8 * Math.min(...sizes);
  const draw = (width) => {
    const margin = { top: 24, right: 14, bottom: 42, left: 44 };
    const tall = width < 500 ? Math.max(height, 60 + 17 * Math.min(shown.length, MOST_NAMES)) : height;
    const x = scaleOf(
      shown.map((point) => point.x),
      margin.left + 14,
      width - margin.right - 14,
      { log, padding: width < 500 ? 0.06 : 0.1 },
    );
    const ends = shown.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y]);
    const heights = shown.map((point) => point.y);
    const logUp = logs && heights.every((value) => value > 0) && Math.max(...heights) > 5 * Math.min(...heights);
    const y = scaleOf(logUp ? ends.filter((end) => end > Math.min(...heights) / 3) : ends, tall - margin.bottom, margin.top + 6, {
      log: logUp,
      ...(percent ? { floor: 0, ceiling: 101 } : {}),
    });
    // On a phone the names of many points would cover the drawing: those on the frontier and the reference have theirs.
    const crowded = width < 500 && shown.length > MOST_NAMES;
    few.hidden = !(names && crowded);
    const room = crowded ? 0.4 * width : width - margin.left - 8;
    const placed = shown.map((point) => ({
      ...point,
      shortName: names ? fitted(point.name, room) : point.name,
      px: x.place(point.x),
      py: y.place(point.y),
    }));
    const best = frontier ? frontierOf(placed, yBetter === "higher", xBetter !== "higher") : [];
    const bounds = { left: margin.left, right: width - 2, top: margin.top - 6, bottom: tall - margin.bottom };
    const named = placed.filter((point) => !crowded || best.includes(point) || isReference(point));
    const level = line && levelAt(line, y, { ...bounds, bottom: tall - margin.bottom });
    const drawnLines = [...stepsOf(best, width - margin.right), ...(level ? [level.line] : [])];
    const boxes = names ? placeNames(named, bounds, { points: placed, texts: level ? [level.words] : [], lines: drawnLines }) : [];
    const ending = (value) => (logUp && value <= 0 ? tall - margin.bottom : Math.min(y.place(value), tall - margin.bottom));
    const drawing = svg(
      "svg",
      { viewBox: `0 0 ${width} ${tall}`, width, height: tall, role: points.some((point) => point.link) ? "group" : "img", "aria-label": label },
      axesOf({
        x,
        y,
        width,
        height: tall,
        margin,
        xTitle: log ? `${xTitle} (log scale) →` : `${xTitle} →`,
        yTitle: `${yBetter === "lower" ? "↓" : "↑"} ${yTitle}${logUp ? " (log scale)" : ""}`,
      }),
      level ? levelOf(level, bounds) : null,
      placed
        .filter((point) => point.low !== undefined && point.low !== null)
        .map((point) =>
          svg("line", {
            class: "whisker",
            x1: point.px,
            x2: point.px,
            y1: ending(point.low),
            y2: ending(point.high),
          }),
        ),
      best.length ? svg("path", { class: "frontier", d: stepsThrough(best, width - margin.right) }) : null,
      boxes.map((box, i) =>
        box.far
          ? svg("line", {
              class: "leader",
              x1: named[i].px,
              y1: named[i].py,
              x2: Math.min(Math.max(named[i].px, box.left), box.right),
              y2: (box.top + box.bottom) / 2,
            })
          : null,
      ),
      reachable(
        placed.map((point) => {
          const mark = markOf(point);
          const linked = point.link
            ? svg("a", { href: point.link, "aria-label": `${point.name}: ${point.said.join(", ")}` }, mark)
            : mark;
          for (const event of ["pointerenter", "focus"]) linked.addEventListener(event, () => tell(point, width));
          for (const event of ["pointerleave", "blur"]) {
            linked.addEventListener(event, () => {
              tip.hidden = true;
            });
          }
          return linked;
        }),
        placed,
      ),
      boxes.map((box, i) => nameBeside(named[i], box, best.includes(named[i]))),
    );
    return [drawing, tip];
  };
  const tell = (point, width) => {
    tip.replaceChildren(el("b", {}, point.name), ...point.said.map((text) => el("div", {}, text)));
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(point.px + 12, width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${point.py + 12}px`;
  };
  drawn(place, draw);
  return el("div", {}, place, few, legendOf(shown, frontier && shown.length > 1, unjudged));
}

/** A point's name, which opens what the point opens: another point can cover it. */
function nameBeside(point, box, first) {
  const weight = first || point.verdict === "reference" ? "name first" : "name";
  const text = svg("text", { class: weight, x: box.left + 2, y: box.bottom - 3 }, point.shortName);
  return point.link ? svg("a", { href: point.link, class: "named", tabindex: -1, "aria-hidden": "true" }, text) : text;
}

/** Marks of which the tab key reaches one, and the arrow keys the others, from left to right. */
function reachable(marks, points) {
  const order = marks.map((mark, i) => [points[i].px, mark]).filter(([, mark]) => mark.href);
  order.sort((a, b) => a[0] - b[0]);
  order.forEach(([, mark], i) => {
    mark.setAttribute("tabindex", i ? -1 : 0);
    mark.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = step && order[i + step];
      if (!next) return;
      event.preventDefault();
      mark.setAttribute("tabindex", -1);
      next[1].setAttribute("tabindex", 0);
      next[1].focus();
    });
  });
  return marks;
}

/** Where a level is drawn: its height, its text, and the boxes that both take. */
function levelAt(line, y, bounds) {
  const inside = y.inside(line.value);
  const at = inside
    ? y.place(line.value)
    : line.value < 0 || y.place(line.value) > bounds.bottom
      ? bounds.bottom - 3
      : bounds.top + 3;
  const text = inside ? line.text : `${line.text}, beyond the axis`;
  const [foot, right] = [at < bounds.top + 12 ? at + 14 : at - 5, bounds.right - 8];
  const words = { left: right - widthOf(text), right, top: foot - 10, bottom: foot + 3 };
  return { at, foot, text, words, line: { left: bounds.left, right: bounds.right, top: at - 1, bottom: at + 1 } };
}

function levelOf({ at, foot, text, words }, bounds) {
  return svg(
    "g",
    {},
    svg("line", { class: "base", x1: bounds.left, x2: bounds.right, y1: at, y2: at }),
    svg("text", { class: "base", x: words.right, y: foot, "text-anchor": "end" }, text),
  );
}

/** The boxes of the steps through some points. */
function stepsOf(points, right) {
  return points.flatMap((point, i) => {
    const next = points[i + 1];
    const along = { left: point.px, right: next?.px ?? right, top: point.py - 1, bottom: point.py + 1 };
    if (!next) return [along];
    const [top, bottom] = [Math.min(point.py, next.py), Math.max(point.py, next.py)];
    return [along, { left: next.px - 1, right: next.px + 1, top, bottom }];
  });
}

/** What marks and lines mean; `unjudged` is what a point without a verdict is. */
function legendOf(points, frontier, unjudged) {
  const words = [...new Set(points.map((point) => point.verdict).filter(Boolean))].sort();
  const items = words.map((word) => {
    const mark = svg(
      "svg",
      { width: 16, height: 16, "aria-hidden": "true" },
      markOf({ px: 8, py: 8, verdict: word, name: "" }),
    );
    return el("span", {}, mark, ` ${word}`);
  });
  if (unjudged && points.some((point) => !point.verdict)) {
    const mark = svg("svg", { width: 16, height: 16, "aria-hidden": "true" }, markOf({ px: 8, py: 8, verdict: "", name: "" }));
    items.push(el("span", {}, mark, ` ${unjudged}`));
  }
  if (frontier) {
    items.push(
      el(
        "span",
        {},
        svg("svg", { width: 24, height: 16, "aria-hidden": "true" }, svg("path", { class: "frontier", d: "M0,8h24" })),
        " best at its price, by estimate",
      ),
    );
  }
  return items.length ? el("p", { class: "legend" }, items) : null;
}
