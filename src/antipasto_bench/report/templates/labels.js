// Names beside points, none on another name or point: the nearest free place, with a line where it is not at once beside.

const LINE = 13; // pixels from one line of names to the next

const measure = document.createElement("canvas").getContext("2d");

function widthOf(text) {
  measure.font = `700 11px ${getComputedStyle(document.body).fontFamily}`;
  return measure.measureText(text).width;
}

const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** A name, cut to a width with an ellipsis. */
function fitted(name, width) {
  let shown = name;
  while (shown.length > 4 && widthOf(shown) > width) shown = `${shown.slice(0, -2).trimEnd()}…`;
  return shown;
}

/**
 * The boxes of some points' names, in the order of the points: {left, right, top, bottom, far}.
 *
 * None lies on a point or a text of the drawing, and none on a line where another place is near.
 */
function placeNames(points, bounds, { points: all, texts, lines: crossed }) {
  const marks = all.map(({ px, py, verdict }) => {
    const half = verdict === "reference" ? 8 : 6; // of a mark's size
    return { left: px - half, right: px + half, top: py - half, bottom: py + half };
  });
  const taken = [...marks, ...texts];
  const boxes = new Array(points.length);
  const crowd = (point) => points.filter((other) => Math.hypot(other.px - point.px, other.py - point.py) < 60).length;
  const first = (point) => (point.verdict === "reference" ? -1 : crowd(point)); // all others are judged against it
  const order = points.map((point, i) => [first(point), i]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  for (const [, i] of order) {
    boxes[i] = freeBox(points[i], taken, bounds, crossed);
    taken.push(boxes[i]);
  }
  return boxes;
}

const NEAR = 70; // pixels within which a place on no line is looked for

function freeBox(point, taken, bounds, crossed) {
  const width = widthOf(point.shortName) + 4;
  let best = null;
  let onLine = null;
  for (const [dx, dy, distance] of OFFSETS) {
    if (onLine && distance > NEAR) return onLine;
    const left = dx > 0 ? point.px + dx : dx < 0 ? point.px + dx - width : point.px - width / 2;
    const top = point.py + dy - LINE / 2;
    const box = { left, right: left + width, top, bottom: top + LINE, far: distance > 13 };
    if (box.left < bounds.left || box.right > bounds.right || box.top < bounds.top || box.bottom > bounds.bottom)
      continue;
    const hits = taken.filter((other) => overlap(box, other)).length;
    if (hits === 0 && !crossed.some((each) => overlap(box, each))) return box;
    if (hits === 0) onLine ??= box;
    if (best === null || hits < best.hits) best = { ...box, hits };
  }
  return onLine ?? best ?? { left: bounds.left, right: bounds.left + width, top: point.py, bottom: point.py + LINE, far: true };
}

/** From near to far, beside the point before above and below it. */
const OFFSETS = (() => {
  const offsets = [
    [8, 0, 8],
    [-8, 0, 8],
    [0, -13, 13],
    [0, 13, 13],
  ];
  for (let radius = 14; radius <= 400; radius += 7) {
    for (let angle = 0; angle < 360; angle += 15) {
      const [dx, dy] = [radius * Math.cos((angle * Math.PI) / 180), radius * Math.sin((angle * Math.PI) / 180)];
      offsets.push([Math.abs(dx) < 4 ? 0 : dx, dy, radius]);
    }
  }
  return offsets;
})();
