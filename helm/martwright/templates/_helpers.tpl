{{/* Names, labels and the parts shared by all pods. */}}

{{- define "martwright.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains "martwright" .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-martwright" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Selector of the objects of this release. The name is fixed: the watchdog and KubeRay's services select by it. */}}
{{- define "martwright.selector" -}}
app.kubernetes.io/name: martwright
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Selector of the pods that run jobs: all but the dashboard's, which has a NetworkPolicy of its own. */}}
{{- define "martwright.jobsSelector" -}}
matchLabels:
  {{- include "martwright.selector" . | nindent 2 }}
{{- if .Values.pages.enabled }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: NotIn
    values: [pages]
{{- end }}
{{- end }}

{{/* Labels of an object. Argument: (dict "root" $ "component" "…"), with "command" "…" if it belongs to a command. */}}
{{- define "martwright.labels" -}}
{{ include "martwright.selector" .root }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/component: {{ .component }}
{{- with .command }}
martwright.io/command: {{ . }}
{{- end }}
{{- $ours := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" -}}
{{- $ours = concat $ours (list "app.kubernetes.io/managed-by" "app.kubernetes.io/component" "martwright.io/command") -}}
{{- range $name, $value := .root.Values.commonLabels }}
{{- if not (has $name $ours) }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels of a pod: as above, plus podLabels. The chart's labels take precedence. */}}
{{- define "martwright.podLabels" -}}
{{- $ours := include "martwright.labels" . | fromYaml -}}
{{- toYaml (merge $ours .root.Values.podLabels) -}}
{{- end }}

{{- define "martwright.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "martwright.state" -}}
{{- if .Values.state -}}
{{- .Values.state -}}
{{- else if hasPrefix "s3://" .Values.source -}}
{{- printf "%s/_marts" (trimSuffix "/" .Values.source) -}}
{{- end -}}
{{- end }}

{{/* Name of a service account. Argument: (dict "root" $ "who" "launcher"). */}}
{{- define "martwright.account" -}}
{{- $account := get .root.Values.serviceAccount .who -}}
{{- $account.name | default (printf "%s-%s" (include "martwright.fullname" .root) .who) -}}
{{- end }}

{{- define "martwright.address" -}}
{{- .Values.submit.address | default (printf "http://%s-head-svc:8265" (include "martwright.fullname" .)) -}}
{{- end }}

{{/* Seconds between two runs of a simple schedule; 0 for any other schedule. */}}
{{- define "martwright.period" -}}
{{- if eq . "* * * * *" -}}60
{{- else if regexMatch "^\\*/[0-9]+ \\* \\* \\* \\*$" . -}}
{{- mul 60 (regexFind "[0-9]+" . | int) -}}
{{- else if or (eq . "@hourly") (regexMatch "^[0-9]+ \\* \\* \\* \\*$" .) -}}3600
{{- else if regexMatch "^[0-9]+ \\*/[0-9]+ \\* \\* \\*$" . -}}
{{- mul 3600 (regexFind "/[0-9]+" . | trimPrefix "/" | int) -}}
{{- else if or (has . (list "@daily" "@midnight")) (regexMatch "^[0-9]+ [0-9]+ \\* \\* \\*$" .) -}}86400
{{- else if or (eq . "@weekly") (regexMatch "^[0-9]+ [0-9]+ \\* \\* [0-9A-Za-z]+$" .) -}}604800
{{- else -}}0
{{- end -}}
{{- end }}

{{/* Deadline of a RayJob with all its attempts, in seconds. */}}
{{- define "martwright.attempts" -}}
{{- mul (add 1 (.Values.rayJob.backoffLimit | int)) (.Values.rayJob.activeDeadlineSeconds | int) -}}
{{- end }}

{{/* The jobs with their defaults filled in, as {"jobs": […]}. */}}
{{- define "martwright.jobs" -}}
{{- $root := . -}}
{{- $jobs := list -}}
{{- range .Values.jobs -}}
{{- $period := include "martwright.period" (.schedule | default "") | int -}}
{{- $given := dict "timeZone" "Etc/UTC" "args" list "mart" "" "asOf" "" "suspend" false "maxAge" 0 "backoffLimit" 2 -}}
{{- $_ := merge $given (dict "ttlSecondsAfterFinished" 259200 "successfulJobsHistoryLimit" 3 "failedJobsHistoryLimit" 3) -}}
{{/* Late by half a period at most, so that it never overlaps the next run. */}}
{{- $_ := set $given "startingDeadlineSeconds" (ternary (min 3600 (div $period 2)) 3600 (gt $period 0)) -}}
{{- $deadline := 14400 -}}
{{- if eq .command "watchdog" -}}
{{- $deadline = 300 -}}
{{- else if or (eq .command "vacuum") (eq .command "monthly") -}}
{{- $deadline = 3600 -}}
{{- else if eq $root.Values.mode "rayjob" -}}
{{/* The launcher outlives all attempts of its RayJob by 15 minutes, to report how they ended. */}}
{{- $deadline = add 900 (include "martwright.attempts" $root | int) -}}
{{- end -}}
{{- $_ := set $given "activeDeadlineSeconds" $deadline -}}
{{- $jobs = append $jobs (mergeOverwrite $given .) -}}
{{- end -}}
{{- dict "jobs" $jobs | toJson -}}
{{- end }}

{{/* One argument, quoted for a shell: an entrypoint is a single line for bash. */}}
{{- define "martwright.shellquote" -}}
{{- if regexMatch "^[A-Za-z0-9_./:=@%+,-]+$" . -}}
{{- . -}}
{{- else -}}
{{- printf "'%s'" (replace "'" "'\\''" .) -}}
{{- end -}}
{{- end }}

{{/* The arguments of a build, as {"args": […]}. */}}
{{- define "martwright.buildArgs" -}}
{{- $args := list -}}
{{- with .mart -}}
{{- $args = list "--mart" . -}}
{{- end -}}
{{/* A word is resolved by the launcher: it counts from the scheduled day. */}}
{{- with .asOf -}}
{{- $args = concat $args (list "--as-of" .) -}}
{{- end -}}
{{- dict "args" (concat $args (.args | default list)) | toJson -}}
{{- end }}

{{- define "martwright.entrypoint" -}}
marts build
{{- range (include "martwright.buildArgs" . | fromJson).args }} {{ include "martwright.shellquote" . }}{{ end -}}
{{- end }}

{{/* Environment of a container: paths of its files, never secret values. Argument: (dict "root" $), with "own" as for a pod. */}}
{{- define "martwright.env" -}}
{{- $own := .own -}}
{{- with .root -}}
- name: MARTS_CONFIG
  value: /etc/martwright/marts.toml
{{- if not $own }}
- name: MARTS_POLICY
  value: /etc/martwright/policy.toml
{{- end }}
- name: MARTS_SECRETS__FILE
  value: /etc/martwright/secrets/credentials.json
- name: MARTS_SECRETS__KEY_FILE
  value: /etc/martwright/secrets/key.pem
{{- if .Values.pack }}
- name: MARTS_PACK
  value: /etc/martwright/pack
{{- end }}
{{- if and .Values.expectations (not $own) }}
- name: MARTS_EXPECTATIONS
  value: /etc/martwright/expectations
{{- end }}
- name: HOME
  value: /home/marts
{{- end }}
{{- end }}

{{/* A quantity of Kubernetes (500m, 2, 4Gi) as a number. */}}
{{- define "martwright.quantity" -}}
{{- if kindIs "string" . -}}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "[A-Za-z]+$" .) | default 1.0) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end }}

{{/* CPUs that Ray derives from resources, rounded up. Empty if they name none. */}}
{{- define "martwright.cpus" -}}
{{- $cpus := dig "limits" "cpu" (dig "requests" "cpu" "" .) . -}}
{{- if toString $cpus -}}
{{- include "martwright.quantity" $cpus | float64 | ceil | int -}}
{{- end -}}
{{- end }}

{{/* Convert whole numbers of a map to integers, in place: Helm reads all numbers as floats, and TOML would get 30.0 and 1e+06. */}}
{{- define "martwright.wholeNumbers" -}}
{{- $map := . -}}
{{- range $key, $value := $map -}}
{{- if kindIs "slice" $value -}}
{{- $items := list -}}
{{- range $value -}}
{{- $item := dict "item" . -}}
{{- include "martwright.wholeNumbers" $item -}}
{{- $items = append $items $item.item -}}
{{- end -}}
{{- $_ := set $map $key $items -}}
{{- else if kindIs "map" $value -}}
{{- include "martwright.wholeNumbers" $value -}}
{{- else if and (kindIs "float64" $value) (eq $value (floor $value)) -}}
{{- $_ := set $map $key (int64 $value) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Environment of Ray's nodes, and of a build with its own Ray. Argument: (dict "resources" {…}). */}}
{{- define "martwright.rayEnv" -}}
{{- with include "martwright.cpus" .resources }}
# Keep idle worker processes: Ray Data starts more than the node has CPUs, and replacing killed ones costs seconds per step.
- name: RAY_num_workers_soft_limit
  value: {{ max 8 (mul 2 (int .)) | quote }}
{{- end }}
- name: RAY_idle_worker_killing_time_threshold_ms
  value: "600000"
# A task that repeatedly runs out of memory must fail instead of being retried forever.
- name: RAY_task_oom_retries
  value: "3"
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{- end }}

{{- define "martwright.mounts" -}}
- name: martwright
  mountPath: /etc/martwright
  readOnly: true
- name: tmp
  mountPath: /tmp
- name: home
  mountPath: /home/marts
{{- if .shm }}
- name: shm
  mountPath: /dev/shm
{{- end }}
{{- with (.own | default .root.Values).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* One folder with all files that a pod reads. Secrets belong to root and are readable by the pod's group: 0440 and fsGroup. */}}
{{- define "martwright.volumes" -}}
{{- $fullname := include "martwright.fullname" .root -}}
- name: martwright
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ $fullname }}-{{ ternary "pages" "config" (hasKey . "own") }}
      {{- if .rayjobs }}
      - configMap:
          name: {{ $fullname }}-rayjobs
          items:
            - key: {{ .rayjobs }}
              path: rayjobs/{{ .rayjobs }}
      {{- end }}
      {{- if .root.Values.pack }}
      - configMap:
          name: {{ $fullname }}-pack
          items:
            {{- range $name, $_ := .root.Values.pack }}
            - key: {{ $name }}
              path: pack/{{ $name }}
            {{- end }}
      {{- end }}
      {{- if and .root.Values.expectations (not .own) }}
      - configMap:
          name: {{ $fullname }}-expectations
          items:
            {{- range $name, $_ := .root.Values.expectations }}
            - key: {{ $name }}
              path: expectations/{{ $name }}
            {{- end }}
      {{- end }}
      - secret:
          name: {{ (.own | default .root.Values).existingSecret }}
          items:
            - key: credentials.json
              path: secrets/credentials.json
            - key: key.pem
              path: secrets/key.pem
            {{- if not .own }}
            - key: auth_token
              path: secrets/auth_token
            {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .tmp | default "1Gi" }}
- name: home
  emptyDir:
    sizeLimit: 256Mi
{{- if .shm }}
- name: shm
  emptyDir:
    medium: Memory
    {{- with .root.Values.ray.shmSize }}
    sizeLimit: {{ . }}
    {{- end }}
{{- end }}
{{- with (.own | default .root.Values).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Placement of a pod: the values for all pods, extended or replaced by those of a component (`placement`). */}}
{{- define "martwright.placement" -}}
{{- $all := .root.Values -}}
{{- $own := .placement | default dict -}}
{{- with $all.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with merge (dict) ($own.nodeSelector | default dict) $all.nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with concat $all.tolerations ($own.tolerations | default list) }}
tolerations:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $own.affinity | default $all.affinity }}
affinity:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $own.topologySpreadConstraints | default $all.topologySpreadConstraints }}
topologySpreadConstraints:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $own.priorityClassName | default $all.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Port of the database, from the address of the target. */}}
{{- define "martwright.databasePort" -}}
{{- regexFind ":[0-9]+(/|$)" .Values.target | trimAll ":/" | default "3306" -}}
{{- end }}

{{/* Settings of the dashboard: those of `settings` that it reads, the target by its own user, and the door. */}}
{{- define "martwright.pagesConfig" -}}
{{- $pages := .Values.pages -}}
{{- $config := pick (deepCopy .Values.settings) "pack" "ids" "analytics" "leave_out" "log" -}}
{{- $_ := set $config "target" (regexReplaceAll "^mysql://([^@/]*@)?" .Values.target (printf "mysql://%s@" $pages.database.user)) -}}
{{/* How the user of the builds proves who he is stays with them. */}}
{{- with omit (.Values.settings.mysql | default dict) "password" "option_file" "ssl_cert" "ssl_key" -}}
{{- $_ := set $config "mysql" (deepCopy .) -}}
{{- end -}}
{{- $served := dict "bind" "0.0.0.0" "port" 8700 "auth" $pages.auth "poll_seconds" $pages.pollSeconds -}}
{{- with $pages.proxies -}}
{{- $_ := set $served "proxies" . -}}
{{- end -}}
{{- with $pages.embed -}}
{{- $_ := set $served "embed" . -}}
{{- end -}}
{{- $_ := set $config "pages" $served -}}
{{- include "martwright.wholeNumbers" $config -}}
{{- toToml $config | trim -}}
{{- end }}

{{/* Init containers and sidecars of some values. A sidecar is an init container that keeps running (Kubernetes 1.29), so that Jobs still end. */}}
{{- define "martwright.initContainers" -}}
{{- $all := list -}}
{{- range .sidecars -}}
{{- $all = append $all (merge (dict "restartPolicy" "Always") .) -}}
{{- end -}}
{{- with concat $all (.initContainers | default list) -}}
initContainers:
{{ toYaml . | indent 2 }}
{{- end -}}
{{- end }}

{{/*
A pod that runs one `marts` command.
Argument: (dict "root" $ "component" "…" "command" "…" "account" "…" "token" bool "args" […] "resources" {…}). Optional:
"placement" of the component, "env" extra variables as YAML, "rayjobs" the key of a template, "shm" bool, "tmp" a size, "grace" seconds.
A pod that serves has "own", its values: existingSecret, extraEnv, extraVolumes, extraVolumeMounts and sidecars, which it has instead of those
of the jobs; "annotations"; and "container", more of its container as YAML.
*/}}
{{- define "martwright.pod" -}}
{{- $values := .own | default .root.Values -}}
metadata:
  labels:
    {{- include "martwright.podLabels" . | nindent 4 }}
  annotations:
    {{- $kept := .annotations | default (dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false") }}
    {{- toYaml (merge $kept .root.Values.podAnnotations) | nindent 4 }}
spec:
  restartPolicy: {{ ternary "Always" "Never" (hasKey . "own") }}
  serviceAccountName: {{ include "martwright.account" (dict "root" .root "who" .account) }}
  automountServiceAccountToken: {{ .token }}
  # A Service named "marts" would set variables MARTS_…, which are rejected as unknown settings.
  enableServiceLinks: false
  {{- with .grace }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  {{- with .root.Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "martwright.placement" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "martwright.initContainers" $values }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: marts
      image: {{ include "martwright.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [marts]
      args:
        {{- if not .args }} []{{ end }}
        {{- range .args }}
        {{- /* Escape $(NAME): Kubernetes would expand it as a variable. */}}
        - {{ replace "$(" "$$(" . | quote }}
        {{- end }}
      env:
        {{- include "martwright.env" . | nindent 8 }}
        {{- with .env }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .container }}
      {{- . | nindent 6 }}
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      {{- with .root.Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      terminationMessagePolicy: FallbackToLogsOnError
      volumeMounts:
        {{- include "martwright.mounts" . | nindent 8 }}
  volumes:
    {{- include "martwright.volumes" . | nindent 4 }}
{{- end }}
