// The first view: the drawing of a score against a price that the reader picks, and the table's sorting.

const armLink = (section, arm) => {
  const reference = section.arms[section.reference];
  return reference && reference !== arm
    ? address(section, "compare", { a: arm.id, b: reference.id })
    : address(section, "compare", { a: arm.id });
};

const SCORES = [
  ["accuracy", "test accuracy, % right"],
  ["loss", "held-out loss, nats a token"],
];

function scoreOf(arm, score) {
  if (score === "accuracy")
    return { y: arm.accuracy, low: arm.interval?.[0], high: arm.interval?.[1], verdict: arm.verdict };
  if (!arm.loss) return { y: NaN };
  const [loss, error] = arm.loss;
  const known = typeof error === "number";
  return {
    y: loss,
    low: known ? loss - error : undefined,
    high: known ? loss + error : undefined,
    verdict: arm.lossVerdict,
  };
}

function answerView(section, params, figure) {
  const prices = section.columns.map((column, place) => ({ ...column, place })).filter((column) => column.price);
  const withLoss = section.arms.some((arm) => arm.loss);
  const asked = params.get("y") ?? section.score;
  const score = asked === "loss" && withLoss ? "loss" : "accuracy";
  const price = prices.find((column) => column.name === params.get("x")) ?? prices[0];
  const all = params.get("all") === "1";
  figure.hidden = !price || !section.arms.some((arm) => !arm.untuned);
  if (figure.hidden) return;
  const arms = (all ? section.arms : section.best.map((i) => section.arms[i])).filter((arm) => !arm.untuned);
  const points = arms.map((arm) => {
    const at = scoreOf(arm, score);
    const shown = (value) => (score === "accuracy" ? fixed(value, 1) : fixed(value, 4));
    const ends = at.low === undefined ? "one seed" : `${shown(at.low)} to ${shown(at.high)}`;
    return {
      ...at,
      name: arm.name,
      x: arm.values[price.place],
      link: armLink(section, arm),
      said: [
        `${score === "accuracy" ? "right" : "loss"}: ${shown(at.y)}${score === "accuracy" ? " %" : ""} (${ends})`,
        `${price.axis}: ${arm.cells[price.place]}`,
        at.verdict || "no verdict",
      ],
    };
  });
  const base = section.arms.find((arm) => arm.untuned);
  const level = base && scoreOf(base, score).y;
  const change = (changes) => keepingFocus(figure, () => answerView(section, remember(changes), figure));
  figure.replaceChildren(
    el(
      "div",
      { class: "controls" },
      withLoss ? menu("Score", SCORES, score, (y) => change({ y: y === section.score ? null : y })) : null,
      menu(
        "Price",
        prices.map((column) => [column.name, column.axis]),
        price.name,
        (x) => change({ x: x === prices[0].name ? null : x }),
      ),
      section.arms.length > section.best.length
        ? checkbox("every setting", all, (on) => change({ all: on ? "1" : null }))
        : null,
    ),
    scatter({
      points,
      percent: score === "accuracy",
      xTitle: price.axis,
      yTitle: SCORES.find(([name]) => name === score)[1] + (score === "loss" ? ", lower is better" : ""),
      xBetter: price.better,
      yBetter: score === "accuracy" ? "higher" : "lower",
      height: 470,
      line: Number.isFinite(level)
        ? { value: level, text: `untuned base: ${score === "accuracy" ? `${fixed(level, 1)} %` : fixed(level, 4)}` }
        : null,
      label: `${SCORES.find(([name]) => name === score)[1]} against ${price.axis}, ${section.name}; the numbers are in the table`,
    }),
    el(
      "figcaption",
      {},
      captionOf(section, score, points),
    ),
  );
  figure.dataset.drawn = `${score}:${price.name}`;
}

/** What the bars are, and where a point leads. */
function captionOf(section, score, points) {
  const bars = !points.some((point) => typeof point.low === "number")
    ? ""
    : score === "accuracy"
      ? " Bars: 95 % intervals."
      : " Bars: ± one standard error of each arm by itself; two arms answer the same questions, so their difference is surer than the bars say.";
  const other = section.reference === null ? "another arm" : "the reference";
  return `${section.name}.${bars} A point opens its comparison with ${other}.`;
}
