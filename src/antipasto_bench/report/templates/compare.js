// Two arms side by side: the difference with its interval, prices, and the questions that flipped with both answers.

const said = (p) => (p < 0.001 ? "p < 0.001" : `p = ${Number(p.toPrecision(2))}`);

/** Arm i less arm j; null where they cannot be compared. */
function pairOf(section, measure, i, j) {
  const table = section.pairs[measure];
  if (!table || i === j) return null;
  if (i > j) {
    const turned = pairOf(section, measure, j, i);
    return turned && { difference: -turned.difference, low: -turned.high, high: -turned.low, p: turned.p };
  }
  const n = section.arms.length;
  const pair = table[i * n - (i * (i + 1)) / 2 + (j - i - 1)];
  return pair && { difference: pair[0], low: pair[1], high: pair[2], p: pair[3] };
}

/** How many pairs of a table have a p value by a measure: pairs with an arm of one seed have none. */
const pairsJudged = (section, measure) => section.pairs[measure].filter((pair) => pair && pair[3] !== null).length;

/** The arm to begin with beside the reference: the one with the most flipped questions of which both answers are kept. */
function clearest(section, reference) {
  const others = section.arms.map((_, i) => i).filter((i) => i !== reference);
  const kept = new Map(others.map((i) => [i, section.questions ? flippedAndKept(section, i, reference) : 0]));
  return others.toSorted((i, j) => kept.get(j) - kept.get(i))[0] ?? -1;
}

function compareView(section, params, part) {
  const { arms } = section;
  const place = (name, usual) => {
    const found = arms.findIndex((arm) => arm.id === params.get(name));
    return found < 0 ? usual : found;
  };
  const reference = section.reference ?? Math.min(1, arms.length - 1);
  const other = clearest(section, reference);
  const a = place("a", other);
  const b = place("b", a === reference ? other : reference);
  if (arms.length < 2 || a < 0) return part.replaceChildren(el("p", {}, "There are no two arms to compare."));
  const options = arms.map((arm) => [arm.id, arm.name]);
  const change = (changes) => keepingFocus(part, () => compareView(section, remember(changes), part));
  part.replaceChildren(
    ...[
      el("h3", {}, `Two arms side by side: ${section.model}`),
      el(
        "div",
        { class: "controls" },
        menu("A", options, arms[a].id, (id) => change({ a: id })),
        menu("B", options, arms[b].id, (id) => change({ b: id })),
        button("Swap", () => change({ a: arms[b].id, b: arms[a].id })),
      ),
      a === b
        ? el("p", {}, "A and B are the same arm.")
        : [
            differences(section, a, b),
            runsOf(section, [a, b]),
            pricesOf(section, a, b),
            flips(section, a, b),
            apartInRuns(section, a, b),
          ],
    ]
      .flat(2)
      .filter(Boolean),
  );
}

/** Two digits where one would show two equal shares beside a difference, or unequal ones beside none. */
function shareDigits(one, other, difference) {
  const alike = fixed(one, 1) === fixed(other, 1);
  return alike === (Number(fixed(difference, 1)) === 0) ? 1 : 2;
}

function differences(section, a, b) {
  const { arms } = section;
  const [accuracy, loss] = ["accuracy", "loss"].map((measure) => pairOf(section, measure, a, b));
  if (!accuracy)
    return el("p", {}, "These rows are not compared: their questions differ, or scores lie between right and wrong.");
  const digits = shareDigits(arms[a].accuracy, arms[b].accuracy, accuracy.difference);
  const sentence = (pair, unit, digits) =>
    `${signed(pair.difference, digits)} ${unit} (95 % interval of this pair alone: ${signed(pair.low, digits)} to ${signed(pair.high, digits)})`;
  const sure = (pair, measure) => {
    if (pair.p === null) return "one seed: this holds for these runs alone";
    const pairs = pairsJudged(section, measure);
    const corrected = pairs > 1 ? `, corrected for the ${exact(pairs)} pairs compared by ${measure}` : "";
    return `${pair.p < 0.05 ? "" : "not "}separated, ${said(pair.p)}${corrected}`;
  };
  const planned = [a, b].includes(section.reference) ? arms[a === section.reference ? b : a] : null;
  return el(
    "div",
    { class: "said" },
    el("p", { class: "headline" }, `${arms[a].name} against ${arms[b].name}: ${sentence(accuracy, "points", digits)}.`),
    planned
      ? el(
          "p",
          {},
          `As planned, against the reference: ${planned.name} is `,
          el("b", {}, planned.verdict || "without a verdict"),
          planned.lossVerdict
            ? [" by accuracy and ", el("b", {}, planned.lossVerdict), " by held-out loss"]
            : " by accuracy",
          ".",
        )
      : el("p", {}, "Neither is the reference, so this pair is exploration: it was not planned."),
    el("p", {}, `${fixed(arms[a].accuracy, digits)} % against ${fixed(arms[b].accuracy, digits)} % right; ${sure(accuracy, "accuracy")}.`),
    loss
      ? el("p", {}, `Held-out loss: ${sentence(loss, "nats a token", 4)}; negative is better for A; ${sure(loss, "loss")}.`)
      : null,
  );
}

/** The runs of both, each with the command that repeats it, where one does. */
function runsOf(section, places) {
  return places.map((place) => {
    const { runs } = section.arms[place];
    const what = runs.some((id) => canBeRepeated(byRun.get(id)))
      ? "Settings, answers and the command that repeats"
      : "Settings and answers of";
    const links = runs.flatMap((id) => {
      const { seed } = byRun.get(id);
      return [el("a", { href: `#run=${encodeURIComponent(id)}` }, seed === null ? "its run" : `seed ${seed}`), " "];
    });
    return el("p", {}, `${what} ${section.arms[place].name}: `, links);
  });
}

function pricesOf(section, a, b) {
  const [one, other] = [section.arms[a], section.arms[b]];
  const rows = section.columns
    .map((column, place) => ({
      column,
      place,
      texts: [one, other].map((arm) => withMeasured(section, arm, place)),
      values: [one.values[place], other.values[place]],
    }))
    .filter(({ column, texts }) => column.axis && texts.some(Boolean));
  const ratio = ([x, y]) =>
    typeof x === "number" && typeof y === "number" && x > 0 && y > 0 ? `${short(x / y)}x` : "";
  return el(
    "details",
    { class: "panel" },
    el("summary", {}, `Scores and prices: ${section.model}`),
    scrolling(
      "Scores and prices of both",
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ["", one.name, other.name, "A / B"].map((text, i) =>
              el("th", { scope: "col", class: i ? null : "left" }, text),
            ),
          ),
        ),
        el(
          "tbody",
          {},
          rows.map(({ column, place, texts, values }) =>
            el(
              "tr",
              {},
              el("th", { scope: "row", title: column.meaning }, headingOf(column)),
              texts.map((text, i) => el("td", {}, text || dash([one, other][i].blanks[place] ?? "not measured"))),
              el("td", {}, ratio(values)),
            ),
          ),
        ),
      ),
    ),
  );
}
