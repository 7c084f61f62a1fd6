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

const BARS = {
  accuracy: "Bars: 95 % intervals.",
  loss: "Bars: ± one standard error of each arm by itself; two arms answer the same questions, so their difference is surer than the bars say.",
};

/** What arms without a verdict by a score are called. */
const withoutVerdict = (arms, score) =>
  arms.every((arm) => scoreOf(arm, score).verdict || arm.runs.length === 1) ? "one seed: no verdict" : "no verdict";

/** A quantity as axes and menus name it. */
const axisName = (column) => (column.unlike ? `${column.axis} (unlike machines)` : column.axis);

function answerView(section, params, part) {
  const [bar, figure] = [part.querySelector(".picks"), part.querySelector(".drawing")];
  const prices = section.columns.map((column, place) => ({ ...column, place })).filter((column) => column.price);
  const withLoss = section.arms.some((arm) => arm.loss);
  const asked = params.get("y") ?? section.score;
  const score = asked === "loss" && withLoss ? "loss" : "accuracy";
  const price = prices.find((column) => column.name === params.get("x")) ?? prices[0];
  const all = params.get("all") === "1";
  figure.hidden = bar.hidden = !price || !section.arms.some((arm) => !arm.untuned);
  if (figure.hidden) return;
  showPicked(part, price.name, all);
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
        `${price.axis}: ${withMeasured(section, arm, price.place)}`,
        at.verdict || withoutVerdict([arm], score),
      ],
    };
  });
  const base = section.arms.find((arm) => arm.untuned);
  const level = base && scoreOf(base, score).y;
  const change = (changes) => keepingFocus(bar, () => answerView(section, remember(changes), part));
  bar.replaceChildren(
    ...[
      menu(
        "Price of drawing and table",
        prices.map((column) => [column.name, axisName(column)]),
        price.name,
        (x) => change({ x: x === prices[0].name ? null : x }),
      ),
      withLoss
        ? menu("Score of the drawing", SCORES, score, (y) => change({ y: y === section.score ? null : y }))
        : null,
      section.arms.length > section.best.length
        ? checkbox(`every setting (${section.arms.length} arms)`, all, (on) => change({ all: on ? "1" : null }))
        : null,
    ].filter(Boolean),
  );
  figure.replaceChildren(
    scatter({
      points,
      percent: score === "accuracy",
      xTitle: axisName(price),
      yTitle: SCORES.find(([name]) => name === score)[1] + (score === "loss" ? ", lower is better" : ""),
      xBetter: price.better,
      yBetter: score === "accuracy" ? "higher" : "lower",
      height: heightBeside(part.querySelector(".short")),
      frontier: !price.unlike, // what differs by its machine has no best at its price
      logs: score === "loss",
      unjudged: withoutVerdict(arms, score),
      line: Number.isFinite(level)
        ? { value: level, text: `untuned base: ${score === "accuracy" ? `${fixed(level, 1)} %` : fixed(level, 4)}` }
        : null,
      label: `${SCORES.find(([name]) => name === score)[1]} against ${price.axis}, ${section.name}; the numbers are in the table`,
    }),
    el("figcaption", {}, captionOf(section, score, price, points)),
  );
  figure.dataset.drawn = `${score}:${price.name}`;
}

/** As high as the table beside it, within bounds: a short table leaves no white space under it. */
function heightBeside(table) {
  return matchMedia("(min-width: 75rem)").matches ? Math.max(320, Math.min(470, table.offsetHeight - 90)) : 470;
}

/** Show the column of the price that was picked, in the table and of the recommended arm, and the rows that are drawn. */
function showPicked(part, price, all) {
  for (const node of part.querySelectorAll("[data-price]")) {
    const picked = node.dataset.price === price;
    node.classList.toggle("picked", picked);
    if (node.hasAttribute("data-extra")) node.hidden = !picked;
  }
  for (const row of part.querySelectorAll("tr[data-more]")) row.hidden = !all;
  const heading = part.querySelector("[data-heading]");
  heading.textContent = all ? "Every setting" : heading.dataset.heading;
  part.querySelector(".short .scroll").dispatchEvent(new Event("scroll")); // names the columns beyond the edge anew
}

/** What the bars and 1x are, and where a point leads. */
function captionOf(section, score, price, points) {
  const bars = points.some((point) => typeof point.low === "number") ? ` ${BARS[score]}` : "";
  const other = section.reference === null ? "another arm" : "the reference";
  const one = price.one ? ` 1x is ${price.one}, the untuned model's median over the rows.` : "";
  const unlike = price.unlike
    ? " These runs were made on different kinds of machine, so this price compares machines as well as arms: it is no fair one."
    : "";
  return `${section.name}.${bars}${one}${unlike} A point opens its comparison with ${other}.`;
}
