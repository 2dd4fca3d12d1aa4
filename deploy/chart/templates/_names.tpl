{{- /* Labels of every object. */ -}}
{{- define "reconciler.labels" -}}
{{ include "reconciler.selector" . }}
app.kubernetes.io/part-of: model-reconciler
{{- end }}

{{- /* Labels of the daemon's pods, and of no other release's. */ -}}
{{- define "reconciler.selector" -}}
app.kubernetes.io/name: reconciler
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "reconciler.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* reconciler.yaml: what the chart decides, the sections among its values, and `config` over all. */ -}}
{{- define "reconciler.config" -}}
{{- $config := dict
  "cluster" .Values.cluster
  "repository" .Values.repository
  "engine" "kubernetes"
  "local" (dict "root" "/var/lib/reconciler")
  "server" (dict "address" ":8080")
-}}
{{- with .Values.namespaces }}
{{- $_ := set $config "kubernetes" (dict "namespace" (first .) "namespaces" .) }}
{{- end }}
{{- range $section := list "registry" "buckets" "review" }}
{{- with index $.Values $section }}
{{- $_ := set $config $section . }}
{{- end }}
{{- end }}
{{- toYaml (mergeOverwrite (deepCopy $config) .Values.config) }}
{{- end }}
