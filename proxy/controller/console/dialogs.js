// The question this page asks of who acts: why.

import * as api from "./api.js";
import { announce, h, name } from "./dom.js";

const dialog = () => document.getElementById("dialog");

function open(title, content, confirm, danger, submit) {
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm);
  const form = h(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        try {
          await submit(new FormData(form));
          dialog().close();
        } catch (error) {
          problem.textContent = error.message;
        }
        button.disabled = false;
      },
    },
    h("h2", { id: "dialog-title" }, title),
    content,
    problem,
    h("div", { class: "row end" }, h("button", { type: "button", class: "quiet", onclick: () => dialog().close() }, "Cancel"), button),
  );
  dialog().replaceChildren(form);
  dialog().showModal();
}

const field = (label, control, help) => h("label", { class: "field" }, h("span", {}, label), control, help ? h("small", { class: "muted" }, help) : null);

const reasonField = () =>
  field("Reason", h("textarea", { name: "reason", rows: 3, maxlength: 1000, required: true, autofocus: true }), "Goes into the journal and the webhook.");

const MEANING = {
  promote: "The candidate goes to the next stage without waiting for the verdict.",
  abort: "All traffic leaves the candidate at once. It stays out until a new version, a retry or a restart.",
  pause: "The rollout does not advance; guards can still roll it back.",
  resume: "The rollout advances again when its stage passes.",
  retry: "The same version starts again from the first stage and keeps its evidence.",
  restart: "A new trial of the same version starts from the first stage. Its old evidence does not count, and both error rates are spent again.",
};
const VERB = { promote: "Promote", abort: "Abort", pause: "Pause", resume: "Resume", retry: "Retry", restart: "Restart" };

const retold = (error) => {
  throw error.status === 401 ? new Error("You are not signed in any more; close this and sign in at the top right.") : error;
};

/** Ask for a reason, and take what a field is now for normal; `done()` afterwards. */
export function askAcceptance(route, of, done) {
  const content = [
    h("p", {}, "What ", name(of), " of ", name(route), " is now becomes its reference, learned anew from here on. Its alarm is over."),
    reasonField(),
  ];
  open("Take it for normal?", content, "Take for normal", false, async (form) => {
    await api.acceptDrift(route, { field: of, reason: form.get("reason") }).catch(retold);
    announce(`${of}: taken for normal`);
    done();
  });
}

/** Ask for a reason and carry out an action; `done(rollout)` afterwards. */
export function askAction(rollout, action, done, full = false) {
  const content = [
    h("p", {}, name(rollout.name), ": ", MEANING[action]),
    reasonField(),
    action === "promote" ? h("label", { class: "check" }, h("input", { type: "checkbox", name: "full", checked: full }), " All the way to 100 %") : null,
  ];
  open(`${VERB[action]} this rollout?`, content, VERB[action], action === "abort", async (form) => {
    const body = { reason: form.get("reason"), full: form.get("full") !== null };
    const after = await api.act(rollout.name, action, body).catch(retold);
    announce(after.asked ? `${after.asked.by} asks for 100 %; another person has to confirm it` : `${VERB[action]}: done`);
    done(after);
  });
}
