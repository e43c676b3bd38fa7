// Two texts, word by word: which runs both have, and which only one of them. No page, so that it is tested by itself.

const MOST_WORDS = 12_000; // of each text; beyond that only what is equal at both ends is told apart
const MOST_EDITS = 800; // of words; texts that differ in more have little in common that would be worth finding
const WEAK = 4; // an equal run of fewer letters between two changes is chance, and broken up it reads badly

const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });

/** Words, blanks and marks of a text; joined they are the text. */
export const words = (text) => Array.from(segmenter.segment(text), ({ segment }) => segment);

/** How many words two lists have in common at their beginnings, and behind those at their ends. */
function ends(a, b) {
  const most = Math.min(a.length, b.length);
  let start = 0;
  while (start < most && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < most - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  return [start, end];
}

/** The shortest way from a to b, as pairs of equal places (Myers 1986); null when it is longer than `MOST_EDITS`. */
function matches(a, b) {
  const [n, m] = [a.length, b.length];
  const trail = [];
  let far = new Int32Array(3);
  for (let d = 0; d <= Math.min(n + m, MOST_EDITS); d += 1) {
    const next = new Int32Array(2 * d + 3); // next[d + k]: how far down diagonal k one gets with d edits
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && far[d - 1 + k - 1] < far[d - 1 + k + 1]);
      let x = d === 0 ? 0 : down ? far[d - 1 + k + 1] : far[d - 1 + k - 1] + 1;
      while (x < n && x - k < m && a[x] === b[x - k]) x += 1;
      next[d + k] = x;
      if (x >= n && x - k >= m) return back(trail, n, m);
    }
    trail.push(next);
    far = next;
  }
  return null;
}

function back(trail, n, m) {
  const found = [];
  let [x, y] = [n, m];
  for (let d = trail.length; d > 0; d -= 1) {
    const far = trail[d - 1];
    const k = x - y;
    const down = k === -d || (k !== d && far[d - 1 + k - 1] < far[d - 1 + k + 1]);
    const before = down ? k + 1 : k - 1;
    const [px, py] = [far[d - 1 + before], far[d - 1 + before] - before];
    while (x > px && y > py && !(x === (down ? px : px + 1) && y === (down ? py + 1 : py))) found.push([(x -= 1), (y -= 1)]);
    [x, y] = [px, py];
  }
  while (x > 0) found.push([(x -= 1), (y -= 1)]);
  return found.reverse();
}

/** Runs in order, as words: {both}, or {live, candidate} where they differ. */
function runs(a, b, equal) {
  const found = [];
  let [x, y] = [0, 0];
  for (const [i, j] of [...equal, [a.length, b.length]]) {
    if (x < i || y < j) found.push({ live: a.slice(x, i), candidate: b.slice(y, j) });
    if (i < a.length) found.at(-1)?.both === undefined ? found.push({ both: [a[i]] }) : found.at(-1).both.push(a[i]);
    [x, y] = [i + 1, j + 1];
  }
  return found;
}

/** How well a change reads that begins after `before` and ends with `last`: after a line, after a blank, anywhere. */
const reads = (before, last) => [before, last].reduce((sum, word) => sum + (word === undefined || word.includes("\n") ? 3 : /\s$/u.test(word) ? 2 : 0), 0);

/** Where only one side has something, the same change can often be said of a place further on: the best is taken. */
function slide(found) {
  found.forEach((run, at) => {
    const [before, after] = [found[at - 1]?.both, found[at + 1]?.both];
    const side = run.both !== undefined ? null : !run.live.length ? run.candidate : !run.candidate.length ? run.live : null;
    if (!side || !before || !after) return;
    let most = 0;
    while (most < after.length - 1 && most < side.length && side[most] === after[most]) most += 1;
    let best = 0;
    for (let by = 1; by <= most; by += 1) {
      const score = (n) => reads(n ? side[n - 1] : before.at(-1), n ? after[n - 1] : side.at(-1));
      if (score(by) > score(best)) best = by;
    }
    before.push(...side.slice(0, best));
    side.push(...side.splice(0, best));
    after.splice(0, best);
  });
  return found;
}

const joined = (run) => Object.fromEntries(Object.entries(run).map(([arm, list]) => [arm, list.join("")]));

const letters = (text) => text.replace(/\s/gu, "").length;

/** The same with equal runs that are too short to mean anything made part of the changes around them. */
function calm(found) {
  const kept = [];
  found.forEach((run, at) => {
    const last = kept.at(-1);
    const weak = run.both !== undefined && letters(run.both) < WEAK && last?.live !== undefined && at + 1 < found.length;
    const [live, candidate] = run.both === undefined ? [run.live, run.candidate] : [run.both, run.both];
    if (last?.live !== undefined && (weak || run.both === undefined)) {
      last.live += live;
      last.candidate += candidate;
    } else kept.push({ ...run });
  });
  return kept;
}

/** The runs of two texts: `live` of all runs joined is the first, `candidate` the second, `both` being of both. */
export function wordDiff(live, candidate) {
  const [a, b] = [words(live), words(candidate)];
  const [start, end] = ends(a, b);
  const [ours, theirs] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const middle = Math.max(ours.length, theirs.length) > MOST_WORDS ? null : matches(ours, theirs);
  const equal = [
    ...Array.from({ length: start }, (_, i) => [i, i]),
    ...(middle ?? []).map(([i, j]) => [i + start, j + start]),
    ...Array.from({ length: end }, (_, i) => [a.length - end + i, b.length - end + i]),
  ];
  return calm(slide(runs(a, b, equal)).map(joined));
}
