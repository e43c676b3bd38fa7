// Whether the AnalysisTemplate on standard input (JSON) is one, by the schema of Argo Rollouts' own types.

import { readFileSync } from "node:fs";
import { AnalysisTemplate } from "@kubernetes-models/argo-rollouts/argoproj.io/v1alpha1";

new AnalysisTemplate(JSON.parse(readFileSync(0, "utf-8"))).validate();
