// Two arms side by side: the difference with its interval, prices, and the questions that flipped with both answers.

const said = (p) => (p < 0.001 ? "p < 0.001" : `p ${Number(p.toPrecision(2))}`);

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

function compareView(section, params, part) {
  const { arms } = section;
  const place = (name, usual) => {
    const found = arms.findIndex((arm) => arm.id === params.get(name));
    return found < 0 ? usual : found;
  };
  const reference = section.reference ?? Math.min(1, arms.length - 1);
  const a = place("a", arms.findIndex((_, i) => i !== reference));
  const b = place("b", reference);
  if (arms.length < 2 || a < 0) return part.replaceChildren(el("p", {}, "There are no two arms to compare."));
  const options = arms.map((arm) => [arm.id, arm.name]);
  const change = (changes, label) => {
    compareView(section, remember(changes), part);
    part.querySelectorAll("select")[label].focus();
  };
  part.replaceChildren(...[
    el("h3", {}, `Two arms side by side: ${section.name}`),
    el("div", { class: "controls" },
      menu("A", options, arms[a].id, (id) => change({ a: id }, 0)), menu("B", options, arms[b].id, (id) => change({ b: id }, 1)),
      button("Swap", () => change({ a: arms[b].id, b: arms[a].id }, 0))),
    a === b ? el("p", {}, "A and B are the same arm.") : [differences(section, a, b), pricesOf(section, a, b), flips(section, a, b), apartInRuns(section, a, b)],
  ].flat(2).filter(Boolean));
}

function differences(section, a, b) {
  const { arms } = section;
  const [accuracy, loss] = ["accuracy", "loss"].map((measure) => pairOf(section, measure, a, b));
  if (!accuracy) return el("p", {}, "These rows are not compared: their questions differ, or scores lie between right and wrong.");
  const sentence = (pair, unit, digits) => `${signed(pair.difference, digits)} ${unit} (95 % interval ${signed(pair.low, digits)} to ${signed(pair.high, digits)})`;
  const sure = (pair) => (pair.p === null ? "one seed: this holds for these runs alone" : pair.p < 0.05 ? `separated, ${said(pair.p)} over all pairs` : "not separated over all pairs");
  const planned = [a, b].includes(section.reference) ? arms[a === section.reference ? b : a] : null;
  return el("div", { class: "said" },
    el("p", { class: "headline" }, `${arms[a].name} less ${arms[b].name}: ${sentence(accuracy, "points", 1)}.`),
    el("p", {}, `${arms[a].accuracy.toFixed(1)} % against ${arms[b].accuracy.toFixed(1)} % right; ${sure(accuracy)}.`),
    loss ? el("p", {}, `Held-out loss: ${sentence(loss, "nats a token", 4)}; negative is better for A; ${sure(loss)}.`) : null,
    planned ? el("p", {}, `As planned, against the reference: ${planned.name} is `, el("b", {}, planned.verdict || "without a verdict"),
      planned.lossVerdict ? [" by accuracy and ", el("b", {}, planned.lossVerdict), " by held-out loss"] : " by accuracy", ".")
      : el("p", {}, "Neither is the reference, so this pair is exploration: it was not planned."));
}

function pricesOf(section, a, b) {
  const [one, other] = [section.arms[a], section.arms[b]];
  const rows = section.columns.map((column, place) => ({ column, texts: [one.cells[place], other.cells[place]], values: [one.values[place], other.values[place]] }))
    .filter(({ column, texts }) => column.axis && texts.some(Boolean));
  const ratio = ([x, y]) => (typeof x === "number" && typeof y === "number" && x > 0 && y > 0 ? `${short(x / y)}x` : "");
  return el("details", { class: "panel" }, el("summary", {}, `Scores and prices: ${section.name}`),
    scrolling("Scores and prices of both", el("table", {},
      el("thead", {}, el("tr", {}, ["", one.name, other.name, "A / B"].map((text, i) => el("th", { scope: "col", class: i ? null : "left" }, text)))),
      el("tbody", {}, rows.map(({ column, texts, values }) => el("tr", {}, el("th", { scope: "row", title: column.meaning }, column.name), texts.map((text) => el("td", {}, text)), el("td", {}, ratio(values))))))));
}

// ------------------------------------------------------------------ questions

const bitAt = (digits, i) => (parseInt(digits[i >> 2], 16) >> (3 - (i & 3))) & 1;
const rightIn = (section, arm, question) => section.questions.right[arm].map((digits) => bitAt(digits, question));

function flips(section, a, b) {
  if (!section.questions) return null;
  const share = (arm, question) => {
    const bits = rightIn(section, arm, question);
    return bits.reduce((x, y) => x + y, 0) / bits.length;
  };
  const ways = [[a, b], [b, a]].map(([x, y]) => {
    const questions = [];
    for (let q = 0; q < section.questions.count; q += 1) if (share(x, q) > 0.5 && share(y, q) < 0.5) questions.push(q);
    return [x, y, questions];
  });
  return ways.map(([x, y, questions]) => flipped(section, x, y, questions, a, b));
}

/** The answer of an arm to a question that is kept: one of a run that did as most of them. */
function keptOf(section, arm, question, right) {
  const kept = section.questions.kept[arm].filter(([asked]) => asked === question);
  const fitting = kept.find(([, run]) => Boolean(bitAt(section.questions.right[arm][run], question)) === right) ?? kept[0];
  return fitting ? { run: section.arms[arm].runs[fitting[1]], right: Boolean(bitAt(section.questions.right[arm][fitting[1]], question)), text: data.texts[fitting[2]] } : null;
}

function flipped(section, x, y, questions, a, b) {
  const [right, wrong] = [section.arms[x].name, section.arms[y].name];
  const shown = questions.filter((question) => section.questions.texts[question])
    .map((question) => ({ question, kept: [a, b].map((arm) => keptOf(section, arm, question, arm === x)) }))
    .filter(({ kept }) => kept.some(Boolean))
    .sort((one, other) => other.kept.filter(Boolean).length - one.kept.filter(Boolean).length);
  const both = shown.filter(({ kept }) => kept.every(Boolean)).length;
  return el("section", { class: "flips" },
    el("h3", {}, `${counted(questions.length, "question")} of ${section.questions.count} right in ${right} and wrong in ${wrong}: ${section.name}`),
    kindsOf(section, questions),
    questions.length && el("p", { class: "quiet" }, shown.length
      ? `Both answers are kept of ${both}, one of ${shown.length - both} more: the results keep a few answers of each run, right and wrong. A question counts as right where most seeds have it right.`
      : "No answer to one of them is kept: the results keep a few answers of each run, right and wrong."),
    shown.map(({ question, kept }, i) => oneFlip(section, question, kept, [a, b], i < 3)));
}

/** Questions of which an answer of either arm is kept, one right and the other wrong: in single runs, not in most. */
function apartInRuns(section, a, b) {
  if (!section.questions) return null;
  const most = (arm, question) => {
    const bits = rightIn(section, arm, question);
    return Math.sign(bits.reduce((x, y) => x + y, 0) - bits.length / 2);
  };
  const found = Object.keys(section.questions.texts).map(Number)
    .filter((question) => most(a, question) * most(b, question) !== -1)
    .map((question) => ({ question, pairs: [[true, false], [false, true]].map(([x, y]) => [keptAs(section, a, question, x), keptAs(section, b, question, y)]) }))
    .map(({ question, pairs }) => ({ question, kept: pairs.find((pair) => pair.every(Boolean)) }))
    .filter(({ kept }) => kept);
  if (!found.length) return null;
  return el("section", { class: "flips" },
    el("h3", {}, `${counted(found.length, "question")} that single runs of both answered otherwise: ${section.name}`),
    el("p", { class: "quiet" }, "Right in a run of one and wrong in a run of the other, but not in most runs of each: what seeds alone can do."),
    found.map(({ question, kept }, i) => oneFlip(section, question, kept, [a, b], i < 2)));
}

function keptAs(section, arm, question, right) {
  const kept = keptOf(section, arm, question, right);
  return kept && kept.right === right ? kept : null;
}

function kindsOf(section, questions) {
  if (!section.questions.kindOf || !questions.length) return null;
  const counts = new Map();
  for (const question of questions) {
    const kind = section.questions.kinds[section.questions.kindOf[question]];
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return el("p", {}, `By kind: ${[...counts].sort((one, other) => other[1] - one[1]).map(([kind, count]) => `${kind} ${count}`).join(", ")}.`);
}

function oneFlip(section, question, kept, sides, open) {
  const [prompt, target] = section.questions.texts[question].map((text) => data.texts[text]);
  const side = (arm, i) => {
    const bits = rightIn(section, arm, question);
    const sum = bits.reduce((x, y) => x + y, 0);
    const answer = kept[i];
    const right = sum * 2 > bits.length;
    return el("div", { class: `answer ${(answer ? answer.right : right) ? "right" : "wrong"}` },
      el("h4", {}, `${i ? "B" : "A"}, ${section.arms[arm].name}: right in ${sum} of ${counted(bits.length, "run")}`),
      answer
        ? [el("pre", {}, answer.text), el("p", { class: "quiet" }, answer.right ? "right, " : "wrong, ", el("a", { href: `#run=${encodeURIComponent(answer.run)}` }, "its run"))]
        : el("p", { class: "quiet" }, right ? "Right, so it ends in the expected number; its text is not kept." : "Wrong; its text is not kept."));
  };
  return el("details", { class: "flip", open },
    el("summary", {}, prompt.replace(/\s+/g, " ").slice(0, 160)),
    el("div", { class: "two" }, el("div", {}, el("h4", {}, "Asked"), el("pre", {}, prompt)), el("div", {}, el("h4", {}, "Expected"), el("pre", {}, target))),
    el("div", { class: "two" }, sides.map(side)));
}
