{{/* One name for everything: the release's, with the chart's where it does not say so already. */}}
{{- define "understudy.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "understudy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "understudy.labels" -}}
{{ include "understudy.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The configuration file: the user's, and what follows from the pod. A key that both say is refused, not merged. */}}
{{- define "understudy.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- range $path := list "server.listen" "server.workers" "admin.listen" "store" "fleet" -}}
{{- $part := $config -}}
{{- range $key := splitList "." $path -}}
{{- $part = ternary (get (default dict $part) $key) "" (kindIs "map" $part) -}}
{{- end -}}
{{- if $part -}}
{{- fail (printf "config.%s is written by the chart: leave it out of `config` (workers, state and fleet are values of the chart)" $path) -}}
{{- end -}}
{{- end -}}
{{- $server := dict "listen" "0.0.0.0:8080" "workers" (int .Values.workers) -}}
{{- $admin := dict "listen" "0.0.0.0:9090" -}}
{{- if not (or (get (default dict $config.admin) "token") (get (default dict $config.admin) "tokens")) -}}
{{- $_ := set $admin "token" "${UNDERSTUDY_ADMIN_TOKEN}" -}}
{{- end -}}
{{- $own := dict "server" $server "admin" $admin -}}
{{- if .Values.fleet.enabled -}}
{{- $folder := "/etc/understudy-fleet" -}}
{{- $tls := dict "cert" (printf "%s/tls.crt" $folder) "key" (printf "%s/tls.key" $folder) "ca" (printf "%s/ca.crt" $folder) -}}
{{- $fleet := dict "listen" "0.0.0.0:9091" "advertise" "${POD_IP}:9091" "tls" $tls "lease" .Values.fleet.lease -}}
{{- $_ := set $own "store" (dict "url" "${UNDERSTUDY_STORE_URL}") -}}
{{- $_ := set $own "fleet" $fleet -}}
{{- else -}}
{{- $_ := set $own "store" (dict "path" "/var/lib/understudy/understudy.db") -}}
{{- end -}}
{{- mustMergeOverwrite $config $own | toYaml -}}
{{- end -}}

{{/* What `workers` processes need: 64 MiB each and 128 MiB for the rest; with what slow clients and copies may take, 256 and 384. */}}
{{- define "understudy.resources" -}}
{{- if .Values.resources -}}
{{- toYaml .Values.resources -}}
{{- else -}}
requests:
  cpu: {{ .Values.workers | int | quote }}
  memory: {{ add 128 (mul 64 (int .Values.workers)) }}Mi
limits:
  memory: {{ add 384 (mul 256 (int .Values.workers)) }}Mi
{{- end -}}
{{- end -}}
