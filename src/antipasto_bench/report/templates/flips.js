// Questions that one arm has right and the other wrong, with the answers that are kept of them.

const bitAt = (digits, i) => (parseInt(digits[i >> 2], 16) >> (3 - (i & 3))) & 1;
const rightIn = (section, arm, question) => section.questions.right[arm].map((digits) => bitAt(digits, question));

/** The share of an arm's runs that have a question right. */
function share(section, arm, question) {
  const bits = rightIn(section, arm, question);
  return bits.reduce((x, y) => x + y, 0) / bits.length;
}

/** How many questions flip between two arms, of which the results keep an answer of each that says so. */
function flippedAndKept(section, a, b) {
  return Object.keys(section.questions.texts)
    .map(Number)
    .filter((question) => {
      const [one, other] = [a, b].map((arm) => share(section, arm, question) - 0.5);
      return one * other < 0 && keptOf(section, a, question, one > 0) && keptOf(section, b, question, other > 0);
    }).length;
}

function flips(section, a, b) {
  if (!section.questions) return null;
  const ways = [
    [a, b],
    [b, a],
  ].map(([x, y]) => {
    const questions = [];
    for (let q = 0; q < section.questions.count; q += 1) if (share(section, x, q) > 0.5 && share(section, y, q) < 0.5) questions.push(q);
    return [x, y, questions];
  });
  const both = ([x, y, questions]) =>
    questions.filter((question) => keptOf(section, x, question, true) && keptOf(section, y, question, false)).length;
  ways.sort((one, other) => both(other) - both(one)); // the way that has a pair of answers to read comes first
  return ways.map(([x, y, questions]) => flipped(section, x, y, questions, a, b));
}

/** A kept answer of an arm to a question, of a run that has it right or of one that has it wrong; null without one. */
function keptOf(section, arm, question, right) {
  const fitting = section.questions.kept[arm].find(
    ([asked, run]) => asked === question && Boolean(bitAt(section.questions.right[arm][run], question)) === right,
  );
  return fitting ? { run: section.arms[arm].runs[fitting[1]], right, text: data.texts[fitting[2]] } : null;
}

function flipped(section, x, y, questions, a, b) {
  const [right, wrong] = [section.arms[x].name, section.arms[y].name];
  const shown = questions
    .filter((question) => section.questions.texts[question])
    .map((question) => ({ question, kept: [a, b].map((arm) => keptOf(section, arm, question, arm === x)) }))
    .filter(({ kept }) => kept.some(Boolean))
    .sort((one, other) => other.kept.filter(Boolean).length - one.kept.filter(Boolean).length);
  const both = shown.filter(({ kept }) => kept.every(Boolean)).length;
  return el(
    "section",
    { class: "flips" },
    el(
      "h3",
      {},
      `${counted(questions.length, "question")} of ${section.questions.count} right in ${right} and wrong in ${wrong}, by most of their seeds: ${section.model}`,
    ),
    kindsOf(section, questions),
    questions.length &&
      el(
        "p",
        { class: "quiet" },
        shown.length
          ? `A question counts as right where most seeds have it right. The results keep a few answers of each run: ${keptInWords(both, shown.length - both)}.`
          : "No answer to any of them is kept: the results keep a few answers of each run.",
      ),
    shown.map(({ question, kept }, i) => oneFlip(section, question, kept, [a, b], i < 3)),
  );
}

/** Of how many of some questions both answers are kept, and of how many one. */
function keptInWords(both, one) {
  const parts = [
    [both, "both answers"],
    [one, "one of the two answers"],
  ].filter(([count]) => count);
  return parts.map(([count, what], i) => `${what} to ${i ? `${count} more` : `${count} of these`}`).join(", ");
}

/** Questions of which an answer of either arm is kept, one right and the other wrong: in single runs, not in most. */
function apartInRuns(section, a, b) {
  if (!section.questions) return null;
  const most = (arm, question) => {
    const bits = rightIn(section, arm, question);
    return Math.sign(bits.reduce((x, y) => x + y, 0) - bits.length / 2);
  };
  const found = Object.keys(section.questions.texts)
    .map(Number)
    .filter((question) => most(a, question) * most(b, question) !== -1)
    .map((question) => ({
      question,
      pairs: [
        [true, false],
        [false, true],
      ].map(([x, y]) => [keptOf(section, a, question, x), keptOf(section, b, question, y)]),
    }))
    .map(({ question, pairs }) => ({ question, kept: pairs.find((pair) => pair.every(Boolean)) }))
    .filter(({ kept }) => kept);
  if (!found.length) return null;
  return el(
    "section",
    { class: "flips" },
    el("h3", {}, `Both answers to ${counted(found.length, "question")} that single runs answered differently: ${section.model}`),
    el(
      "p",
      { class: "quiet" },
      "Right in a run of one and wrong in a run of the other, while most runs of the two agree or are split evenly: what seeds alone can do. These are the ones of which both answers are kept; there may be more.",
    ),
    found.map(({ question, kept }, i) => oneFlip(section, question, kept, [a, b], i < 2, true)),
  );
}

function kindsOf(section, questions) {
  if (!section.questions.kindOf || !questions.length) return null;
  const counts = new Map();
  for (const question of questions) {
    const kind = section.questions.kinds[section.questions.kindOf[question]];
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return el(
    "p",
    {},
    `By kind: ${[...counts]
      .sort((one, other) => other[1] - one[1])
      .map(([kind, count]) => `${kind} ${count}`)
      .join(", ")}.`,
  );
}

const CLOSING = /\s*Think step by step\.\s*Answer:\s*$/; // of every prompt

/** A question on one line, cut between words with an ellipsis. */
function titleOf(prompt, most = 160) {
  const line = prompt.replace(CLOSING, "").replace(/\s+/g, " ").trim();
  if (line.length <= most) return line;
  const cut = line.slice(0, most + 1);
  const end = cut.lastIndexOf(" ");
  return `${cut.slice(0, end > 0 ? end : most)} …`;
}

/** A question with an answer of either side; of single runs the headings say how that run answered. */
function oneFlip(section, question, kept, sides, open, single = false) {
  const [prompt, target] = section.questions.texts[question].map((text) => data.texts[text]);
  const side = (arm, i) => {
    const bits = rightIn(section, arm, question);
    const sum = bits.reduce((x, y) => x + y, 0);
    const answer = kept[i];
    const right = sum * 2 > bits.length;
    const all = `right in ${sum} of ${counted(bits.length, "run")}`;
    const heading = single && answer ? `this run: ${answer.right ? "right" : "wrong"}; ${all}` : all;
    return el(
      "div",
      { class: `answer ${(answer ? answer.right : right) ? "right" : "wrong"}` },
      el("h4", {}, `${i ? "B" : "A"}, ${section.arms[arm].name}: ${heading}`),
      answer
        ? [
            answerText(answer.text),
            el(
              "p",
              { class: "quiet" },
              answer.right ? "right, " : "wrong, ",
              el("a", { href: `#run=${encodeURIComponent(answer.run)}` }, "its run"),
            ),
          ]
        : el(
            "p",
            { class: "quiet" },
            right
              ? "No text of a run that has it right is kept; such a text ends in the expected number."
              : "No text of a run that has it wrong is kept.",
          ),
    );
  };
  return el(
    "details",
    { class: "flip", open },
    el("summary", {}, titleOf(prompt)),
    el(
      "div",
      { class: "two" },
      el("div", {}, el("h4", {}, "Asked"), answerText(prompt)),
      el("div", {}, el("h4", {}, "Expected"), answerText(target)),
    ),
    el("div", { class: "two" }, sides.map(side)),
  );
}
