{{/* The name of everything: the release's, with the chart's where that is not in it already. */}}
{{- define "video-api-exporter.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- end -}}
{{- /* A pod's name is this with an ordinal, in a label of 63 characters. */ -}}
{{- $full | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "video-api-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "video-api-exporter.labels" -}}
{{ include "video-api-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "video-api-exporter.image" -}}
{{- $image := .Values.image -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "video-api-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "video-api-exporter.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "video-api-exporter.keySecret" -}}
{{ include "video-api-exporter.fullname" . }}-keys
{{- end }}

{{/* Not empty where replicas share a database. */}}
{{- define "video-api-exporter.isShared" -}}
{{- with .Values.state.postgresql.existingSecret -}}{{- if or .name .key -}}true{{- end -}}{{- end -}}
{{- end }}

{{/* What the chart cannot deploy, in words. The exporter itself judges what is in an account beside its key. */}}
{{- define "video-api-exporter.check" -}}
{{- if not .Values.accounts -}}
{{- fail "\n\naccounts: is empty: name at least one account, e.g.\n  accounts:\n    - name: media-prod\n      provider: vidnavigator\n      existingSecret: {name: video-api-keys, key: vidnavigator}\n" -}}
{{- end -}}
{{- if lt (int .Values.shards) 1 -}}
{{- fail (printf "\n\nshards: %v is not a number of pods: give 1 or more\n" .Values.shards) -}}
{{- end -}}
{{- if lt (int .Values.replicas) 1 -}}
{{- fail (printf "\n\nreplicas: %v is not a number of pods: give 1 or more\n" .Values.replicas) -}}
{{- end -}}
{{- if include "video-api-exporter.isShared" . -}}
{{- range $part := list "name" "key" -}}
{{- if not (get $.Values.state.postgresql.existingSecret $part) -}}
{{- fail (printf "\n\nstate.postgresql.existingSecret.%s is missing: name the Secret, and its key that holds the connection string\n" $part) -}}
{{- end -}}
{{- end -}}
{{- else if gt (int .Values.replicas) 1 -}}
{{- fail "\n\nreplicas: more than 1 need a database to share: set state.postgresql.existingSecret, or give the number of pods as shards\n" -}}
{{- end -}}
{{- range $key := list "accounts" "account_files" "state" -}}
{{- if hasKey $.Values.config $key -}}
{{- fail (printf "\n\nconfig.%s: is set by the chart: use `accounts`, and `persistence` or `state.postgresql`\n" $key) -}}
{{- end -}}
{{- end -}}
{{- range $index, $account := .Values.accounts -}}
{{- $where := printf "\n\naccounts[%d] (%s)" $index (toString $account.name) -}}
{{- $sources := list -}}
{{- range $source := list "existingSecret" "apiKey" "api_key_env" "api_key_file" -}}
{{- if hasKey $account $source -}}{{- $sources = append $sources $source -}}{{- end -}}
{{- end -}}
{{- if hasKey $account "api_key" -}}
{{- fail (printf "%s: api_key would stand in a ConfigMap: use existingSecret or apiKey\n" $where) -}}
{{- else if not $sources -}}
{{- fail (printf "%s: has no key: set existingSecret {name, key}, apiKey, or api_key_env\n" $where) -}}
{{- else if gt (len $sources) 1 -}}
{{- fail (printf "%s: has its key in more than one way: %s\n" $where (join ", " $sources)) -}}
{{- end -}}
{{- if has "existingSecret" $sources -}}
{{- range $part := list "name" "key" -}}
{{- if not (get (default dict $account.existingSecret) $part) -}}
{{- fail (printf "%s: existingSecret.%s is missing: name the Secret, and its key that holds the API key\n" $where $part) -}}
{{- end -}}
{{- end -}}
{{- else if has "apiKey" $sources -}}
{{- if not (regexMatch "^[-._a-zA-Z0-9]+$" (toString $account.name)) -}}
{{- fail (printf "%s: apiKey needs a name of letters, digits, '-', '_' and '.', since it names the key in the Secret: use existingSecret\n" $where) -}}
{{- else if not $account.apiKey -}}
{{- fail (printf "%s: apiKey is empty\n" $where) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What the rules know an account by: its name and every label that the values give to any account. */}}
{{- define "video-api-exporter.accountLabels" -}}
{{- $names := .Values.prometheusRule.accountLabels -}}
{{- range .Values.accounts -}}{{- $names = concat $names (keys (default dict .labels)) -}}{{- end -}}
{{- prepend (uniq $names | sortAlpha) "account" | join ", " -}}
{{- end }}

{{/* Which scrape jobs the rules watch. The Prometheus operator names a job after the Service. */}}
{{- define "video-api-exporter.jobs" -}}
{{- $full := include "video-api-exporter.fullname" . -}}
.*video-api-exporter.*{{ if not (contains "video-api-exporter" $full) }}|{{ $full }}{{ end }}
{{- end }}

{{/* A time such as 1m30s in seconds. */}}
{{- define "video-api-exporter.seconds" -}}
{{- add (mul 60 (regexFind "^[0-9]+m" . | trimSuffix "m" | atoi)) (regexFind "[0-9]+s$" . | trimSuffix "s" | atoi) -}}
{{- end }}

{{/* Every Secret that holds keys, once. */}}
{{- define "video-api-exporter.secrets" -}}
{{- $names := list -}}
{{- range .Values.accounts -}}
{{- if .existingSecret -}}{{- $names = append $names .existingSecret.name -}}
{{- else if .apiKey -}}{{- $names = append $names (include "video-api-exporter.keySecret" $) -}}
{{- end -}}
{{- end -}}
{{- uniq $names | sortAlpha | toJson -}}
{{- end }}

{{/* One account as the exporter reads it. JSON, since Go's YAML writes 1000000 as 1e+06, a string to others. */}}
{{- define "video-api-exporter.account" -}}
{{- $account := omit .account "existingSecret" "apiKey" -}}
{{- with .account.existingSecret -}}
{{- $_ := set $account "api_key_file" (printf "/etc/video-api-keys/%s/%s" .name .key) -}}
{{- end -}}
{{- if .account.apiKey -}}
{{- $secret := include "video-api-exporter.keySecret" .root -}}
{{- $_ := set $account "api_key_file" (printf "/etc/video-api-keys/%s/%s.%s" $secret .account.provider .account.name) -}}
{{- end -}}
{{- toRawJson $account -}}
{{- end }}

{{/* A volume's name is a label, a Secret's may have dots and be longer. */}}
{{- define "video-api-exporter.secretVolume" -}}
keys-{{ sha256sum . | trunc 10 }}
{{- end }}

{{- define "video-api-exporter.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
