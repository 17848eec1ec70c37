{{/*
The autoscaler beside a worker, for a chart of your own that depends on this one:

  spec:
    initContainers:
      {{- include "celery-pool-autoscaler.sidecar" (dict "image" "registry/celery-pool-autoscaler:0.1.0") | nindent 6 }}
    volumes:
      {{- include "celery-pool-autoscaler.volumes" (dict "container" "worker" "secret" "celery-broker") | nindent 6 }}

node: the part of the worker's -n before the @, celery by default. settings: the name of a ConfigMap with variables.
resources: its requests and limits. container: whose limits count. secret and key: where the broker's URL is.
Label the pod `celery-autoscaler: sidecar`, so that the PodMonitor finds it.
*/}}
{{- define "celery-pool-autoscaler.sidecar" -}}
- name: autoscaler
  image: {{ required "image of the sidecar" .image }}
  restartPolicy: Always
  envFrom:
    - configMapRef: {name: {{ .settings | default "celery-autoscaler" }}, optional: true}
  env:
    - {name: CELERY_NODE, value: {{ .node | default "celery" | quote }}}
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    - {name: AUTOSCALER_WORKER, value: $(CELERY_NODE)@$(POD_NAME)}
    - {name: AUTOSCALER_LIMITS_FOLDER, value: /etc/celery-autoscaler/limits}
    - {name: REDIS_URL_FILE, value: /run/secrets/celery-broker/REDIS_URL}
  ports:
    - {name: autoscaler, containerPort: 9809}
  # The worker starts after this one succeeded: it must never ask for the worker.
  startupProbe:
    httpGet: {path: /livez, port: autoscaler}
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet: {path: /livez, port: autoscaler}
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 6
  readinessProbe:
    httpGet: {path: /readyz, port: autoscaler}
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 12
  resources:
    {{- .resources | default (dict "requests" (dict "cpu" "50m" "memory" "96Mi") "limits" (dict "memory" "192Mi")) | toYaml | nindent 4 }}
  securityContext:
    {{- include "celery-pool-autoscaler.userSecurity" . | nindent 4 }}
    {{- include "celery-pool-autoscaler.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: celery-autoscaler-limits, mountPath: /etc/celery-autoscaler/limits, readOnly: true}
    - {name: celery-broker, mountPath: /run/secrets/celery-broker, readOnly: true}
    - {name: celery-autoscaler-tmp, mountPath: /tmp}
{{- end }}

{{- define "celery-pool-autoscaler.volumes" -}}
- name: celery-autoscaler-limits
  downwardAPI:
    items:
      - path: cpu_limit
        resourceFieldRef: {containerName: {{ required "container of the worker" .container }}, resource: limits.cpu, divisor: 1m}
      - path: memory_limit
        resourceFieldRef: {containerName: {{ .container }}, resource: limits.memory, divisor: "1"}
- name: celery-broker
  secret:
    secretName: {{ .secret | default "celery-broker" }}
    defaultMode: 0444
    items: [{key: {{ .key | default "REDIS_URL" }}, path: REDIS_URL}]
- name: celery-autoscaler-tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- end }}

{{- define "celery-pool-autoscaler.userSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "celery-pool-autoscaler.podSecurity" -}}
{{ include "celery-pool-autoscaler.userSecurity" . }}
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
{{- end }}

{{- define "celery-pool-autoscaler.containerSecurity" -}}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{/* A value as text. Helm reads every number as a float, and writes one of a million or more as 1e+06. */}}
{{- define "celery-pool-autoscaler.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ toString . }}{{ end }}
{{- end }}

{{/* Pods start again when the settings change: their variables are read at the start alone. */}}
{{- define "celery-pool-autoscaler.settingsChecksum" -}}
checksum/settings: {{ toJson .Values.settings | sha256sum }}
{{- end }}
