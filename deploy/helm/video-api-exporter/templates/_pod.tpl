{{/* A pod: of the StatefulSet where `shard` is empty, or of the Deployment of a shard. */}}
{{- define "video-api-exporter.pod" -}}
{{- $shard := .shard -}}
{{- with .root -}}
{{- $name := include "video-api-exporter.fullname" . -}}
{{- $isShared := include "video-api-exporter.isShared" . -}}
metadata:
  labels:
    {{- include "video-api-exporter.labels" . | nindent 4 }}
    {{- if $isShared }}
    app.kubernetes.io/component: {{ printf "shard-%s" $shard }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "video-api-exporter.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- if .Values.configReload.enabled }}
  # config-reload sends the exporter a signal.
  shareProcessNamespace: true
  {{- end }}
  terminationGracePeriodSeconds: 15
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: exporter
      image: {{ include "video-api-exporter.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - --config.file=/etc/video-api-exporter/config.yaml
        - --web.health-address=:10391
        - --log.level={{ .Values.log.level }}
        - --log.format={{ .Values.log.format }}
        - --shard.count={{ .Values.shards }}
        {{- if $isShared }}
        - --shard.index={{ $shard }}
        {{- end }}
        {{- if .Values.webConfigSecret }}
        - --web.config.file=/etc/video-api-web/web-config.yaml
        {{- end }}
      {{- if or .Values.env (not $isShared) }}
      env:
        {{- if not $isShared }}
        # The pod's ordinal is the shard's index.
        - name: VIDEO_API_EXPORTER_SHARD_INDEX
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- end }}
        {{- with .Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        - name: metrics
          containerPort: 10390
        - name: health
          containerPort: 10391
      startupProbe:
        httpGet: {path: /-/healthy, port: health}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /-/healthy, port: health}
        periodSeconds: 15
        timeoutSeconds: 5
      readinessProbe:
        httpGet: {path: /-/ready, port: health}
        periodSeconds: 5
        timeoutSeconds: 5
      securityContext:
        {{- include "video-api-exporter.containerSecurity" . | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/video-api-exporter
          readOnly: true
        {{- if $isShared }}
        - name: state
          mountPath: /etc/video-api-state
          readOnly: true
        {{- else }}
        - name: state
          mountPath: /var/lib/video-api-exporter
        {{- end }}
        {{- range include "video-api-exporter.secrets" . | fromJsonArray }}
        - name: {{ include "video-api-exporter.secretVolume" . }}
          mountPath: /etc/video-api-keys/{{ . }}
          readOnly: true
        {{- end }}
        {{- if .Values.webConfigSecret }}
        - name: web-config
          mountPath: /etc/video-api-web
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- if .Values.configReload.enabled }}
    - name: config-reload
      image: {{ include "video-api-exporter.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [python3, /reload/reload.py]
      args: [/etc/video-api-exporter, {{ .Values.configReload.intervalSeconds | quote }}, "10391"]
      securityContext:
        {{- include "video-api-exporter.containerSecurity" . | nindent 8 }}
      resources:
        {{- toYaml .Values.configReload.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/video-api-exporter
          readOnly: true
        - name: reload
          mountPath: /reload
          readOnly: true
    {{- end }}
  volumes:
    - name: config
      projected:
        sources:
          - configMap:
              name: {{ $name }}-config
          {{- range $index, $_ := chunk 1000 .Values.accounts }}
          - configMap:
              name: {{ $name }}-accounts-{{ $index }}
              items:
                - key: accounts.yaml
                  path: accounts.d/accounts-{{ $index }}.yaml
          {{- end }}
    {{- if .Values.configReload.enabled }}
    - name: reload
      configMap:
        name: {{ $name }}-reload
    {{- end }}
    {{- range include "video-api-exporter.secrets" . | fromJsonArray }}
    - name: {{ include "video-api-exporter.secretVolume" . }}
      secret:
        secretName: {{ . }}
        defaultMode: 0440
        # One that is missing fails its own accounts; the others are polled.
        optional: true
    {{- end }}
    {{- with .Values.webConfigSecret }}
    - name: web-config
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- if $isShared }}
    - name: state
      secret:
        secretName: {{ .Values.state.postgresql.existingSecret.name }}
        defaultMode: 0440
    {{- else if not .Values.persistence.enabled }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.affinity }}
  affinity:
    {{- toYaml .Values.affinity | nindent 4 }}
  {{- else if $isShared }}
  affinity:
    # Replicas on one node would end with it.
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "video-api-exporter.selectorLabels" . | nindent 16 }}
                app.kubernetes.io/component: {{ printf "shard-%s" $shard }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end }}
