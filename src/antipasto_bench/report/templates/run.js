// A run: numbers, the command that repeats it, curves, settings, where it comes from, and some of its answers.

const settingsOf = (first, [changes, lacking]) => {
  const settings = { ...first, ...changes };
  for (const key of lacking) delete settings[key];
  return settings;
};

const listed = (settings) =>
  Object.keys(settings)
    .sort()
    .map((key) => `${key}: ${typeof settings[key] === "string" ? settings[key] : JSON.stringify(settings[key])}`)
    .join("\n");

function copied(text) {
  const told = el("span", { role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      told.textContent = " copied";
    } catch {
      getSelection().selectAllChildren(code); // where a browser lends no clipboard to files
      told.textContent = document.execCommand("copy") ? " copied" : " marked: copy it by your keys";
    }
  };
  const code = el("code", { tabindex: 0 }, text); // it scrolls
  return el("p", { class: "command" }, code, " ", button("Copy", copy, { "aria-label": `Copy: ${text}` }), told);
}

const canBeRepeated = (run) => run.rules === data.rules;

function curveFigure(curve, name) {
  const points = curveOf(curve);
  if (!points || points.length < 2) return null;
  const losses = points.map(([, loss]) => loss);
  const text = `${name} by step: ${short(Math.max(...losses))} at most, ${short(Math.min(...losses))} at least`;
  return el(
    "figure",
    {},
    lines({ curves: [{ name, points, chosen: true }], yTitle: "nats a token", height: 200, label: text }),
    el("figcaption", {}, text),
  );
}

function answerBlock([right, prompt, target, response]) {
  return el(
    "div",
    { class: `answer ${right ? "right" : "wrong"}` },
    el("p", { class: "judged" }, right ? "Right" : "Wrong"),
    el(
      "div",
      { class: "two" },
      el(
        "div",
        {},
        el("h4", {}, "Asked"),
        answerText(data.texts[prompt]),
        el("h4", {}, "Expected"),
        answerText(data.texts[target]),
      ),
      el("div", {}, el("h4", {}, "Answered"), answerText(data.texts[response])),
    ),
  );
}

const factsOf = (shown) =>
  el(
    "dl",
    { class: "facts" },
    shown.map(([column, text]) => el("div", {}, el("dt", {}, column.meaning), el("dd", {}, text))),
  );

/** Links to a table of a run: its answer, all its runs, and the other seeds of the same arm. */
function waysFrom(section, run) {
  const labels = new Map(section.runs);
  const isSibling = ({ id, rank, lr }) =>
    id !== run.id && rank === run.rank && lr === run.lr && labels.get(id) === labels.get(run.id);
  const others = section.runs.map(([id]) => byRun.get(id)).filter(isSibling);
  return [
    el("a", { href: address(section) }, `Table: ${section.name}`),
    " ",
    el("a", { href: address(section, "explore", { rows: "runs" }) }, "all its runs"),
    others.length
      ? [
          "; of the same arm ",
          others.flatMap(({ id, seed }) => [el("a", { href: `#run=${encodeURIComponent(id)}` }, `seed ${seed}`), " "]),
        ]
      : null,
  ].flat(3);
}

function runView(run) {
  const sections = data.sections.filter((section) => section.runs.some(([id]) => id === run.id));
  const shown = data.runColumns.map((column, i) => [column, run.cells[i]]).filter(([, text]) => text);
  const [numbers, seconds] = [false, true].map((are) => shown.filter(([column]) => column.seconds === are));
  const config = settingsOf(data.firstConfig, run.config);
  const origin = settingsOf(data.firstOrigin, run.origin);
  const commit = origin["git.commit"];
  const [right, wrong] = [true, false].map((is) => run.answers.filter((answer) => answer[0] === is));
  return [
    sections.map((section) => el("p", {}, waysFrom(section, run))),
    el("h2", {}, run.id),
    el("h3", {}, `Repeat this run: ${run.model}`),
    canBeRepeated(run)
      ? [
          copied(`antipasto-bench reproduce ${run.id}`),
          el(
            "p",
            { class: "quiet" },
            "In a clone of this repository, set up as its README says. It says first what it needs that is not there, such as data that no hub gives: their names and digests are under Provenance.",
          ),
        ]
      : el("p", {}, `It was scored by rules ${run.rules}, by which no run is made any more, so no command repeats it.`),
    el(
      "p",
      { class: "quiet" },
      commit
        ? `Made by the code of commit ${commit.slice(0, 10)}${origin["git.dirty"] ? ", with changes" : ""}, on ${origin.hardware}, ${origin.device}.`
        : "",
    ),
    el("h3", {}, `Numbers: ${run.model}`),
    factsOf(numbers),
    seconds.length ? [el("h3", {}, `Where its seconds went: ${run.model}`), factsOf(seconds)] : null,
    el("div", { class: "two" }, curveFigure(run.train, "Training loss"), curveFigure(run.valid, "Held-out loss")),
    el("details", {}, el("summary", {}, "Configuration"), el("pre", {}, listed(config))),
    el(
      "details",
      {},
      el("summary", {}, "Provenance: code, machine, packages, model and data"),
      el("pre", {}, listed(origin)),
    ),
    run.answers.length ? el("h3", {}, `Answers, ${right.length} right and ${wrong.length} wrong: ${run.model}`) : null,
    run.answers.map(answerBlock),
  ];
}
