// Where a version comes from, as a model registry says it: model, run, data, and the way to its page there.

import { h, name } from "./dom.js";

/** A link only where it leads to a web page: what a registry says is not ours. */
const page = (url, words) => (/^https?:\/\//.test(url) ? h("a", { href: url, rel: "noreferrer noopener", target: "_blank" }, words) : words);

/** A line below the names of the arms; nothing where the file named the version. */
export function lineage(one) {
  if (!one) return null;
  return h(
    "p",
    { class: "muted lineage" },
    page(one.url, [name(one.model), " version ", name(one.version)]),
    ` named by ${one.registry === "mlflow" ? "MLflow" : "the model registry"}`,
    one.run ? [", run ", name(one.run)] : null,
    one.data ? [", data ", name(one.data)] : null,
  );
}
