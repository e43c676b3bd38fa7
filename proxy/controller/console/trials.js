// Earlier trials of one rollout: other versions, and tries that were begun anew.

import { cut, h, name, part } from "./dom.js";
import * as f from "./format.js";
import { when } from "./widgets.js";

const ended = { rolled_back: "rolled back", promoted: "promoted", completed: "completed" };

function trial(one) {
  const how = ended[one.state] ?? "replaced";
  return h(
    "li",
    { class: one.state },
    when(one.since),
    " ",
    h("strong", {}, `${how} in ${f.stageName(one.stage)}`),
    " version ",
    name(one.version),
    one.reason ? h("p", { class: "muted" }, cut(one.reason, 300)) : null,
  );
}

/** The panel's inside; `update(trials)`. */
export const earlierTrials = () => part("div", {}, (trials) => h("ol", { class: "journal" }, trials.map(trial)));
