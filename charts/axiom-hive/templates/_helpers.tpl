{{/* One release a cluster: guard policies and the operator's rights are cluster-wide. */}}
{{- define "axiom-hive.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: axiom-hive
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "axiom-hive.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* The name under which the API server knows the operator. */}}
{{- define "axiom-hive.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:axiom-hive-operator
{{- end }}

{{/* An image by digest where there is one, else by tag. */}}
{{- define "axiom-hive.image" -}}
{{- $image := printf "%s/%s" .root.Values.images.registry .image.repository -}}
{{- if .image.digest -}}
{{ $image }}@{{ .image.digest }}
{{- else -}}
{{ $image }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "axiom-hive.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "axiom-hive.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* DNS, and the API server as far as a policy can name it. */}}
{{- define "axiom-hive.toCluster" -}}
- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
  to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: kube-system}
- ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 6443}]
  {{- with .Values.networkPolicies.apiServer.cidrs }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end }}
