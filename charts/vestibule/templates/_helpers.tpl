{{- define "vestibule.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* The labels by which Pods are chosen; they never change for a release. Takes the root and a component. */}}
{{- define "vestibule.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "vestibule.labels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "vestibule.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A duration of the settings (1h30m, 45s, 500ms) in whole seconds, rounded up. */}}
{{- define "vestibule.seconds" -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+(h|ms|m|s)" . -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $milliseconds = add $milliseconds (mul (trimSuffix $unit . | int64) (get (dict "h" 3600000 "m" 60000 "s" 1000 "ms" 1) $unit)) -}}
{{- end -}}
{{- div (add $milliseconds 999) 1000 -}}
{{- end }}

{{/* How long a Pod of the edge may take to end. What the edge needs itself is what it drains, and a little to end in. */}}
{{- define "vestibule.gracePeriod" -}}
{{- $drain := .Values.settings.drain | default "30s" -}}
{{- $sessions := .Values.settings.drainSessions | default $drain -}}
{{- $longest := max (include "vestibule.seconds" $drain | int64) (include "vestibule.seconds" $sessions | int64) -}}
{{- $least := add .Values.edge.preStopSeconds $longest 5 -}}
{{- $given := .Values.edge.terminationGracePeriodSeconds -}}
{{- if and $given (lt (int64 $given) $least) -}}
{{- fail (printf "edge.terminationGracePeriodSeconds: %d is less than preStopSeconds, settings.drain and settings.drainSessions need; give %d or more, or leave it out" (int64 $given) $least) -}}
{{- end -}}
{{- $given | default (max $least 60) -}}
{{- end }}

{{/* Namespaces to read, from the one value that also makes the rights. */}}
{{- define "vestibule.namespaces" -}}
{{- concat .Values.rbac.namespaces (list .Release.Namespace) | uniq | toYaml -}}
{{- end }}

{{/* host:port for each family. Takes the root and a port. */}}
{{- define "vestibule.addresses" -}}
{{- $port := .port }}
{{- range .root.Values.ipFamilies }}
- {{ printf "%s:%v" (eq . "IPv6" | ternary "[::]" "0.0.0.0") $port | quote }}
{{- end }}
{{- end }}

{{/* Where only the process that orders certificates reads: with one role for everything there is no such place. */}}
{{- define "vestibule.privateNamespace" -}}
{{- $own := dig "certificates" "namespace" .Release.Namespace .Values.settings -}}
{{- $default := eq .Values.roles "all" | ternary $own (.Values.certificates.privateNamespace.name | default (printf "%s-private" .Release.Namespace)) -}}
{{- dig "certificates" "privateNamespace" $default .Values.settings -}}
{{- end }}

{{/* Refuses credentials that the edges could read: RBAC has no exceptions, so a right to read all Secrets is one to read these. */}}
{{- define "vestibule.checkCredentials" -}}
{{- $private := include "vestibule.privateNamespace" . -}}
{{- if has $private .Values.rbac.namespaces }}
{{- fail (printf "rbac.namespaces lists %s, where the credentials of issuers stand: edges could read them; take it out" $private) }}
{{- end }}
{{- if and (not .Values.rbac.namespaces) (not .Values.certificates.readableByEdges) }}
{{- range .Values.settings.issuers }}
{{- if contains "secretRef" (omit . "certificateAuthorities" | toJson) }}
{{- fail (printf "the issuer %s has credentials in a Secret, and edges read the Secrets of every namespace: list in rbac.namespaces what they read; or have the credentials in no Secret (files by a CSI driver in control.extraVolumes, webIdentity); or set roles to all; or accept it with certificates.readableByEdges" .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The settings file: what the chart knows, under what the operator says. */}}
{{- define "vestibule.settings" -}}
{{- $classes := list }}
{{- range $index, $item := .Values.classes }}
{{- $class := dict "name" .name "default" .default }}
{{- if .http }}{{ $_ := set $class "http" (include "vestibule.addresses" (dict "root" $ "port" .http) | fromYamlArray) }}{{ end }}
{{- if .https }}{{ $_ := set $class "https" (include "vestibule.addresses" (dict "root" $ "port" .https) | fromYamlArray) }}{{ end }}
{{- $publish := dict }}
{{- if .service.enabled }}
{{- $_ := set $publish "service" (printf "%s/%s" $.Release.Namespace (include "vestibule.serviceName" (dict "root" $ "class" .))) }}
{{- if .https }}{{ $_ := set $publish "httpsPort" 443 }}{{ end }}
{{- else if and $.Values.edge.hostPort.enabled (eq $index 0) .https }}
{{- $_ := set $publish "httpsPort" (int $.Values.edge.hostPort.https) }}
{{- end }}
{{- if $publish }}{{ $_ := set $class "publish" $publish }}{{ end }}
{{- $classes = append $classes (merge (deepCopy (.settings | default dict)) $class) }}
{{- end }}
{{- $cluster := dict "lease" (.Values.lease | default (include "vestibule.name" .)) }}
{{- if .Values.rbac.namespaces }}{{ $_ := set $cluster "namespaces" (include "vestibule.namespaces" . | fromYamlArray) }}{{ end }}
{{- if .Values.lastGood.enabled }}
{{- $directory := "/var/lib/vestibule/last-good" }}
{{- $_ := set $cluster "lastGood" (dict "directory" (printf "%s/objects" $directory) "secretsDirectory" (printf "%s-secrets/objects" $directory)) }}
{{- end }}
{{- $admin := dict "address" (has "IPv6" .Values.ipFamilies | ternary "[::]:10254" "0.0.0.0:10254") }}
{{- $base := dict "classes" $classes "cluster" $cluster "admin" $admin }}
{{- if .Values.replicas.enabled }}
{{- $name := include "vestibule.replicas" . }}
{{- $listen := printf "%s:%v" (has "IPv6" .Values.ipFamilies | ternary "[::]" "0.0.0.0") .Values.replicas.port }}
{{- $_ := set $base "replicas" (dict "listen" $listen "service" (printf "%s/%s" .Release.Namespace $name) "secret" $name) }}
{{- if not (dig "auth" "sessionKeys" "" .Values.settings) }}
{{- $_ := set $base "auth" (dict "sessionKeys" (dict "secretRef" (dict "namespace" .Release.Namespace "name" $name "key" "sessions"))) }}
{{- end }}
{{- end }}
{{- if .Values.settings.issuers }}
{{- $_ := set $base "certificates" (dict "privateNamespace" (include "vestibule.privateNamespace" .)) }}
{{- end }}
{{- mergeOverwrite $base (deepCopy .Values.settings) | toYaml }}
{{- end }}

{{/* The headless Service of all replicas, and the Secret with their keys. */}}
{{- define "vestibule.replicas" -}}
{{- printf "%s-replicas" (include "vestibule.name" .) -}}
{{- end }}

{{- define "vestibule.serviceName" -}}
{{- $name := include "vestibule.name" .root -}}
{{- eq .class.name $name | ternary $name (printf "%s-%s" $name .class.name) | trunc 63 -}}
{{- end }}

{{/* What Pod Security "restricted" and the usual policies ask for. */}}
{{- define "vestibule.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
# A safe sysctl, allowed by Pod Security "restricted": ports below 1024 without a capability.
sysctls:
  - {name: net.ipv4.ip_unprivileged_port_start, value: "0"}
{{- end }}

{{- define "vestibule.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "vestibule.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
{{- end }}

{{- define "vestibule.meshAnnotations" -}}
{{- if .Values.linkerd.inject }}
linkerd.io/inject: enabled
{{- end }}
{{- if .Values.linkerd.skipPorts }}
{{- $ports := list "10000-10255" }}
{{- if .Values.replicas.enabled }}{{ $ports = append $ports (toString .Values.replicas.port) }}{{ end }}
{{- range .Values.classes }}
{{- if .http }}{{ $ports = append $ports (toString .http) }}{{ end }}
{{- if .https }}{{ $ports = append $ports (toString .https) }}{{ end }}
{{- end }}
config.linkerd.io/skip-inbound-ports: {{ $ports | uniq | join "," | quote }}
{{- end }}
{{- end }}
