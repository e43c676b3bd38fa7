// The admin API. The token lives in this tab only; events come over fetch rather than EventSource, which cannot send it.

const KEY = "understudy.token";

export function token(value) {
  try {
    if (value !== undefined) value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY);
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export class Refused extends Error {
  constructor(status, detail, ways = []) {
    super(detail);
    this.status = status;
    this.ways = ways; // how one could sign in
  }
}

const headers = () => (token() ? { authorization: `Bearer ${token()}` } : {});
const DEADLINE = 10_000;
const SILENCE = 40_000; // the stream has a heartbeat every 15 s; a laptop that slept never hears that the other end is gone

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers }, signal: AbortSignal.timeout(DEADLINE) });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body.detail ?? answer.statusText, body.sign_in);
  return body;
}

const of = (rollout) => `/api/v1/rollouts/${rollout.split("/").map(encodeURIComponent).join("/")}`;

export const rollouts = async () => (await ask("/api/v1/rollouts")).rollouts;
export const rollout = (name) => ask(of(name));
export const charts = (name) => ask(`${of(name)}/charts`);
export const pairs = async (name, order) => (await ask(`${of(name)}/pairs?order=${order}&limit=20`)).pairs;
export const transcript = (name, pair) => ask(`${of(name)}/pairs/${encodeURIComponent(pair)}/transcript`);
export const journal = (name, before) => ask(`${of(name)}/journal?limit=25${before ? `&before=${before}` : ""}`);
const driftAt = (route) => `/api/v1/drift/${encodeURIComponent(route)}`;
const post = (path, body) => ask(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
export const drift = () => ask("/api/v1/drift");
export const driftOf = (route) => ask(driftAt(route));
export const driftJournal = (route) => ask(`${driftAt(route)}/journal?limit=25`);
export const acceptDrift = (route, body) => post(`${driftAt(route)}/accept`, body);
export const trials = async (name) => (await ask(`${of(name)}/trials`)).trials;
export const traffic = () => ask("/api/v1/traffic");
export const me = () => ask("/api/v1/me");
export const signOut = () => ask("/auth/logout", { method: "POST" });
export const fleet = () => ask("/api/v1/fleet");
export const config = () => ask("/api/v1/config");
export const processes = () => ask("/api/v1/processes");
export const act = (name, action, body) => post(`${of(name)}/${action}`, body);

/** Events for ever: `on(event)` for each, `state("live" | "reconnecting" | "refused")` when the connection changes. */
export async function events(on, state) {
  for (let failures = 0; ; failures += 1) {
    try {
      const control = new AbortController();
      const answer = await fetch("/api/v1/events", { headers: headers(), signal: control.signal });
      if (answer.status === 401 || answer.status === 403) {
        state("refused");
        return;
      }
      if (!answer.ok) throw new Error(answer.statusText);
      state("live");
      failures = 0;
      await read(answer.body, on, () => control.abort());
    } catch {
      // the controller restarts, the network blinks: try again
    }
    state("reconnecting");
    await new Promise((done) => setTimeout(done, Math.min(10_000, 500 * 2 ** failures)));
  }
}

async function read(body, on, giveUp) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const silence = setTimeout(giveUp, SILENCE);
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    const blocks = (waiting + value).split("\n\n");
    waiting = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length) on(JSON.parse(data.join("\n")));
    }
  }
}
