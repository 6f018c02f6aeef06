{{/* Ray clusters: the same for a RayJob and for the long-lived one. */}}

{{/* Of (dict "root" $ "node" "head"): a pod of a cluster. */}}
{{- define "martwright.rayPod" -}}
{{- $node := get .root.Values.ray .node -}}
{{- $about := dict "root" .root "component" (printf "ray-%s" .node) "command" "build" "placement" $node.placement "tmp" .root.Values.ray.tmpSize -}}
{{- /* Without a size of ours KubeRay mounts /dev/shm, as large as the limit of memory. */}}
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
  {{- with include "martwright.initContainers" .root }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    # KubeRay writes the command, and adds the token of authOptions.
    - name: ray-{{ .node }}
      image: {{ include "martwright.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      env:
        {{- include "martwright.env" .root | nindent 8 }}
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
  volumes:
    {{- include "martwright.volumes" $about | nindent 4 }}
{{- end }}

{{- define "martwright.rayClusterSpec" -}}
rayVersion: {{ .Values.ray.version | quote }}
# Written out: KubeRay takes a missing or empty mode for "off".
authOptions:
  mode: token
  secretName: {{ .Values.existingSecret }}
headGroupSpec:
  rayStartParams:
    # No tasks on the head: one that takes its memory takes the driver with it.
    num-cpus: "0"
    dashboard-host: 0.0.0.0
  template:
    {{- include "martwright.rayPod" (dict "root" . "node" "head") | nindent 4 }}
workerGroupSpecs:
  - groupName: worker
    replicas: {{ .Values.ray.worker.replicas | int }}
    minReplicas: {{ .Values.ray.worker.replicas | int }}
    maxReplicas: {{ .Values.ray.worker.replicas | int }}
    rayStartParams: {}
    template:
      {{- include "martwright.rayPod" (dict "root" . "node" "worker") | nindent 6 }}
{{- end }}

{{/* Of (dict "root" $ "job" {…}): what the launcher makes a RayJob of. It adds the name, the owner and as_of. */}}
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
  # In K8sJobMode the Job of KubeRay's submitter would have the name of the RayJob, which is the name of our own Job.
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
