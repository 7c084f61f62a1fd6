// Losses by step: a line an arm, those that are chosen in colour with their names at the end.

/** `curves` are {name, points: [[step, loss]], chosen}. */
function lines({ curves, yTitle, height = 320, label }) {
  const place = el("div", { class: "chart" });
  const named = curves.filter((curve) => curve.chosen).map((curve) => curve.name);
  const draw = (width) => {
    const margin = {
      top: 24,
      right: Math.max(14, Math.min(width * 0.45, 12 + Math.max(0, ...named.map(widthOf)))),
      bottom: 42,
      left: 48,
    };
    const points = curves.flatMap((curve) => curve.points);
    const losses = points.map(([, loss]) => loss).filter((loss) => loss > 0);
    const log = losses.length === points.length && Math.max(...losses) > 8 * Math.min(...losses);
    const x = scaleOf([0, ...points.map(([step]) => step)], margin.left, width - margin.right, { padding: 0 });
    const y = scaleOf(
      points.map(([, loss]) => loss),
      height - margin.bottom,
      margin.top + 4,
      { log },
    );
    const chosen = curves.filter((curve) => curve.chosen);
    const ends = apart(
      chosen.map((curve) => y.place(curve.points.at(-1)[1])),
      margin.top,
      height - margin.bottom,
    );
    const path = (curve) =>
      curve.points
        .map(([step, loss], i) => `${i ? "L" : "M"}${x.place(step).toFixed(1)},${y.place(loss).toFixed(1)}`)
        .join("");
    return [
      svg(
        "svg",
        { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
        axesOf({ x, y, width, height, margin, xTitle: "step →", yTitle: `${yTitle}${log ? " (log scale)" : ""}` }),
        curves
          .filter((curve) => !curve.chosen)
          .map((curve) => svg("path", { class: "curve", d: path(curve) }, svg("title", {}, curve.name))),
        chosen.map((curve, i) =>
          svg("path", { class: `curve chosen hue${i % 6}`, d: path(curve) }, svg("title", {}, curve.name)),
        ),
        chosen.map((curve, i) =>
          svg("text", { class: `name hue${i % 6}`, x: width - margin.right + 6, y: ends[i] + 4 },
            svg("title", {}, curve.name), fitted(curve.name, margin.right - 8)),
        ),
      ),
    ];
  };
  return drawn(place, draw);
}

/** Heights that keep a line's distance from each other, as near to the given ones as that allows. */
function apart(heights, top, bottom) {
  const order = heights.map((height, i) => [height, i]).sort((a, b) => a[0] - b[0]);
  const moved = new Array(heights.length);
  let least = top;
  for (const [height, i] of order) {
    moved[i] = Math.max(height, least);
    least = moved[i] + LINE;
  }
  const over = least - LINE - bottom;
  return over > 0 ? moved.map((height) => height - over) : moved;
}

const curveOf = (curve) => (curve ? data.steps[curve[0]].map((step, i) => [step, curve[1][i]]) : null);
