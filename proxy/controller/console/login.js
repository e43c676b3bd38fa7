// Who is signed in, how one signs in and out, and what they may not do, in words.
//
// What is shown here only spares a person a refusal: the controller decides, at each request, by what was proven to it.

import * as api from "./api.js";
import { announce, h, name } from "./dom.js";

const RANK = { view: 1, operate: 2, admin: 3 };
const BACK = "understudy.back";
const REFUSED = {
  state: "The sign-in was not begun in this browser, or took longer than ten minutes.",
  provider: "What the provider answered cannot be used. The controller's log says why.",
  denied: "The provider has not let you in.",
  role: "You are known, and have no role here. Ask who looks after this installation.",
};

const dialog = () => document.getElementById("dialog");
let me = null;

/** Find out who is signed in, and show it; nothing is known of who is not. */
export async function renew() {
  me = await api.me().catch(() => null);
  const at = document.getElementById("who");
  at.textContent = me ? (me.proven ? me.actor : "everybody") : "sign in";
  at.title = me ? `${me.actor}: ${roles().join("; ")}` : "";
}

const roles = () => me.grants.map((grant) => `${grant.role} on ${grant.routes ? grant.routes.join(", ") : "all routes"}`);

/** The highest role on a route. */
const roleOn = (route) => Math.max(0, ...me.grants.filter((grant) => !grant.routes || grant.routes.includes(route)).map((grant) => RANK[grant.role]));

/** Why an action on a route is not for who is signed in, in words; empty when it is, or when that is not known. */
export function whyNot(role, route) {
  if (!me || roleOn(route) >= RANK[role]) return "";
  const has = Object.keys(RANK).find((one) => RANK[one] === roleOn(route));
  return `This needs the role ${role} on the route ${route}; ${me.actor} has ${has ?? "none there"}.`;
}

/** Who is signed in, to notice when that changes. */
export const whoIsIn = () => me?.actor ?? "";

/** Whether an actor is who is signed in. */
export const isMe = (actor) => me?.actor === actor;

/** What is shown instead of the page to who is not signed in; `then` runs once a token is given. */
export function signIn(ways, then) {
  const byProvider = ways.includes("oidc") ? h("a", { class: "button primary", href: "/auth/login", onclick: remember }, "Sign in with your provider") : null;
  const byToken = ways.includes("token") || !byProvider ? h("button", { type: "button", class: byProvider ? "plain" : "primary", onclick: () => askToken(then) }, "Use a token") : null;
  return h("div", { class: "row center" }, byProvider, byToken);
}

function remember() {
  try {
    sessionStorage.setItem(BACK, location.hash);
  } catch {
    // storage may be forbidden; the first page is shown then
  }
}

/** After the provider has sent the browser back: to where it was before, or why it was not let in. */
export function cameBack() {
  const refused = REFUSED[new URLSearchParams(location.search).get("sign_in")];
  let hash = location.hash;
  try {
    hash ||= sessionStorage.getItem(BACK) ?? "";
    sessionStorage.removeItem(BACK);
  } catch {
    // as above
  }
  if (location.search || hash !== location.hash) history.replaceState(null, "", location.pathname + hash);
  return refused ?? "";
}

function open(title, ...content) {
  dialog().replaceChildren(h("div", { class: "account" }, h("h2", { id: "dialog-title" }, title), ...content));
  dialog().showModal();
}

const close = () => dialog().close();

/** Ask for a token; `then` runs when there is a new one. */
export function askToken(then) {
  const field = h("input", { type: "password", name: "token", autocomplete: "off", required: true, autofocus: true });
  const use = (event) => {
    event.preventDefault();
    api.token(field.value.trim());
    close();
    then();
  };
  const buttons = h("div", { class: "row end" }, h("button", { type: "button", class: "quiet", onclick: close }, "Cancel"), h("button", { type: "submit", class: "primary" }, "Use it"));
  open("Sign in with a token", h("form", { onsubmit: use }, h("label", { class: "field" }, h("span", {}, "Token"), field, h("small", { class: "muted" }, "One of admin.tokens, or admin.token. Kept in this tab only.")), buttons));
}

/** Who is signed in, with what, and the way out. */
export function showWho(then) {
  if (!me) {
    askToken(then);
    return;
  }
  const out = async () => {
    api.token("");
    if (me.actor.startsWith("oidc:")) await api.signOut().catch(() => null);
    announce("Signed out");
    location.reload();
  };
  const until = me.until ? h("p", { class: "muted" }, `Until ${new Date(me.until * 1000).toLocaleTimeString()}.`) : null;
  const who = me.proven ? [name(me.actor), " has:"] : "This port asks nobody who they are, so everybody here may do everything.";
  const canLeave = me.actor.startsWith("oidc:") || me.actor.startsWith("token:");
  open(
    me.proven ? "Signed in" : "Nobody is signed in",
    h("p", {}, who),
    me.proven ? h("ul", {}, roles().map((one) => h("li", {}, one))) : null,
    until,
    h("div", { class: "row end" }, canLeave ? h("button", { type: "button", class: "plain", onclick: out }, "Sign out") : null, h("button", { type: "button", class: "quiet", onclick: close }, "Close")),
  );
}
