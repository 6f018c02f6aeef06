{{/* Ray clusters, for a RayJob and for the long-lived cluster. */}}

{{/* All worker groups with their replicas: {"groups": […]}. */}}
{{- define "martwright.workerGroups" -}}
{{- $worker := .Values.ray.worker -}}
{{- $groups := list -}}
{{- range $given := prepend .Values.ray.workerGroups (merge (dict "name" "worker") $worker) -}}
{{- $replicas := .replicas | default 0 | int -}}
{{- $group := dict "name" .name "replicas" $replicas "minReplicas" $replicas "maxReplicas" $replicas -}}
{{- $_ := set $group "resources" (.resources | default $worker.resources) -}}
{{- $_ := set $group "placement" (.placement | default $worker.placement) -}}
{{- range $number := list "minReplicas" "maxReplicas" -}}
{{- if and (hasKey $given $number) (not (kindIs "invalid" (get $given $number))) -}}
{{- $_ := set $group $number (get $given $number | int) -}}
{{- end -}}
{{- end -}}
{{- $groups = append $groups $group -}}
{{- end -}}
{{- dict "groups" $groups | toJson -}}
{{- end }}

{{/* Whether the cluster has an autoscaler: a group has more maxReplicas than minReplicas. */}}
{{- define "martwright.autoscaled" -}}
{{- range (include "martwright.workerGroups" . | fromJson).groups -}}
{{- if gt (.maxReplicas | int) (.minReplicas | int) }}true{{ end -}}
{{- end -}}
{{- end }}

{{/* CPUs of all workers at maxReplicas. */}}
{{- define "martwright.mostCpus" -}}
{{- $most := 0 -}}
{{- range (include "martwright.workerGroups" . | fromJson).groups -}}
{{- $most = add $most (mul (.maxReplicas | int) (include "martwright.cpus" .resources | int)) -}}
{{- end -}}
{{- $most -}}
{{- end }}

{{/* A pod of a cluster. Argument: (dict "root" $ "node" "head" "of" .Values.ray.head), or "worker" and a group. */}}
{{- define "martwright.rayPod" -}}
{{- $node := .of -}}
{{- $autoscaler := and (eq .node "head") (include "martwright.autoscaled" .root) -}}
{{- $about := dict "root" .root "component" (printf "ray-%s" .node) "command" "build" "placement" $node.placement "tmp" .root.Values.ray.tmpSize -}}
{{- /* Without shmSize KubeRay mounts /dev/shm with the size of the memory limit. */}}
{{- $_ := set $about "shm" (ne .root.Values.ray.shmSize "") -}}
metadata:
  labels:
    {{- include "martwright.podLabels" $about | nindent 4 }}
  {{- $annotations := dict }}
  {{- if eq .node "head" }}
  {{- $annotations = dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" }}
  {{- end }}
  {{- with merge $annotations .root.Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "martwright.account" (dict "root" .root "who" "builder") }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "martwright.placement" $about | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "martwright.initContainers" .root.Values }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    # KubeRay sets the command and adds the token of authOptions.
    - name: ray-{{ .node }}
      image: {{ include "martwright.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      env:
        {{- include "martwright.env" $about | nindent 8 }}
        {{- include "martwright.rayEnv" $node | trim | nindent 8 }}
        {{- with .root.Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .root.Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- if eq .node "head" }}
        - name: gcs-server
          containerPort: 6379
        - name: dashboard
          containerPort: 8265
        - name: client
          containerPort: 10001
        {{- end }}
        - name: metrics
          containerPort: 8080
      resources:
        {{- toYaml $node.resources | nindent 8 }}
      {{- with .root.Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      terminationMessagePolicy: FallbackToLogsOnError
      volumeMounts:
        {{- include "martwright.mounts" $about | nindent 8 }}
        {{- if $autoscaler }}
        - name: ray-logs
          mountPath: /tmp/ray
        {{- end }}
  volumes:
    {{- include "martwright.volumes" $about | nindent 4 }}
    {{- if $autoscaler }}
    # KubeRay's own volume has no size limit.
    - name: ray-logs
      emptyDir:
        sizeLimit: {{ .root.Values.ray.tmpSize }}
    # The token that Kubernetes would otherwise mount in all containers.
    - name: kubernetes
      projected:
        defaultMode: 0440
        sources:
          - serviceAccountToken:
              path: token
              expirationSeconds: 3607
          - configMap:
              name: kube-root-ca.crt
              items:
                - key: ca.crt
                  path: ca.crt
          - downwardAPI:
              items:
                - path: namespace
                  fieldRef:
                    fieldPath: metadata.namespace
    {{- end }}
{{- end }}

{{- define "martwright.rayClusterSpec" -}}
rayVersion: {{ .Values.ray.version | quote }}
# Set explicitly: KubeRay reads a missing or empty mode as "off".
authOptions:
  mode: token
  secretName: {{ .Values.existingSecret }}
{{- if include "martwright.autoscaled" . }}
enableInTreeAutoscaling: true
autoscalerOptions:
  version: v2
  idleTimeoutSeconds: {{ .Values.ray.autoscaler.idleTimeoutSeconds | int }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  env:
    - name: HOME
      value: /tmp
  resources:
    {{- toYaml .Values.ray.autoscaler.resources | nindent 4 }}
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    - name: ray-logs
      mountPath: /tmp/ray
    - name: kubernetes
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
{{- end }}
headGroupSpec:
  rayStartParams:
    # No tasks on the head: a task that exhausts its memory would also kill the driver.
    num-cpus: "0"
    dashboard-host: 0.0.0.0
  template:
    {{- include "martwright.rayPod" (dict "root" . "node" "head" "of" .Values.ray.head) | nindent 4 }}
workerGroupSpecs:
  {{- range (include "martwright.workerGroups" . | fromJson).groups }}
  - groupName: {{ .name }}
    replicas: {{ .replicas | int }}
    minReplicas: {{ .minReplicas | int }}
    maxReplicas: {{ .maxReplicas | int }}
    rayStartParams: {}
    template:
      {{- include "martwright.rayPod" (dict "root" $ "node" "worker" "of" .) | nindent 6 }}
  {{- end }}
{{- end }}

{{/* Template of a RayJob. Argument: (dict "root" $ "job" {…}). The launcher adds the name, the owner and as_of. */}}
{{- define "martwright.rayJob" -}}
apiVersion: ray.io/v1
kind: RayJob
metadata:
  labels:
    {{- $ours := include "martwright.labels" (dict "root" .root "component" "rayjob" "command" "build") | fromYaml }}
    {{- toYaml (merge $ours .root.Values.rayJob.labels) | nindent 4 }}
  {{- with .root.Values.rayJob.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  # In K8sJobMode KubeRay's submitter Job would have the name of the RayJob, which is also the name of the launcher's Job.
  submissionMode: HTTPMode
  entrypoint: {{ include "martwright.entrypoint" .job | quote }}
  backoffLimit: {{ .root.Values.rayJob.backoffLimit | int }}
  activeDeadlineSeconds: {{ .root.Values.rayJob.activeDeadlineSeconds | int }}
  preRunningDeadlineSeconds: {{ .root.Values.rayJob.preRunningDeadlineSeconds | int }}
  shutdownAfterJobFinishes: true
  ttlSecondsAfterFinished: {{ .root.Values.rayJob.ttlSecondsAfterFinished | int }}
  rayClusterSpec:
    {{- include "martwright.rayClusterSpec" .root | nindent 4 }}
{{- end }}
