{{/* All errors in the values, as {"mistakes": […]}: reported together, not one per attempt. */}}
{{- define "martwright.mistakes" -}}
{{- $m := list -}}
{{- $fullname := include "martwright.fullname" . -}}
{{- if not (has .Values.mode (list "rayjob" "submit" "local")) -}}
{{- $m = append $m (printf "mode is %q: it must be rayjob, submit or local" .Values.mode) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $fullname) -}}
{{- $m = append $m (printf "the name %s must begin with a letter and contain no dot, or KubeRay rejects it; see fullnameOverride" $fullname) -}}
{{- end -}}
{{- if not .Values.image.repository -}}
{{- $m = append $m "image.repository is missing: the repository that you pushed the image to" -}}
{{- end -}}
{{- if not .Values.source -}}
{{- $m = append $m "source is missing: s3://bucket/prefix with sales/, customers/, …" -}}
{{- end -}}
{{- if not .Values.target -}}
{{- $m = append $m "target is missing: mysql://user@host:port/database" -}}
{{- end -}}
{{- if not .Values.existingSecret -}}
{{- $m = append $m "existingSecret is missing: the Secret that `marts secrets export-k8s` writes" -}}
{{- end -}}
{{- if and .Values.source (not (include "martwright.state" .)) -}}
{{- $m = append $m "state is missing: it has no default for a source outside S3; set s3://bucket/prefix" -}}
{{- end -}}
{{- if and .Values.target (not (regexMatch "^(mysql|duckdb)://" .Values.target)) -}}
{{- $m = append $m "target must be mysql://user@host:port/database (or, in mode local, duckdb:///path)" -}}
{{- end -}}
{{- if and (hasPrefix "duckdb:" .Values.target) (ne .Values.mode "local") -}}
{{- $m = append $m "target is a DuckDB file: only mode local can write one, on a volume from extraVolumes" -}}
{{- end -}}
{{/* A password follows the second colon, before an @; sealed:NAME refers to one, and is allowed. */}}
{{- $addresses := dict "source" .Values.source "target" .Values.target "state" .Values.state -}}
{{- $_ := set $addresses "reportsUrl" .Values.reportsUrl -}}
{{- $_ := set $addresses "submit.address" .Values.submit.address -}}
{{- $_ := set $addresses "settings.s3.endpoint" (dig "s3" "endpoint" "" .Values.settings) -}}
{{- range $job := .Values.jobs -}}
{{- range $number, $argument := $job.args -}}
{{- $_ := set $addresses (printf "job %s: argument %d" $job.name (add1 $number)) $argument -}}
{{- end -}}
{{- end -}}
{{- range $name, $address := .Values.settings.dimensions -}}
{{- $_ := set $addresses (printf "settings.dimensions.%s" $name) $address -}}
{{- end -}}
{{- range $name, $address := $addresses -}}
{{- $hidden := regexMatch "://[^/:]*:sealed:[^/:]+@" (toString $address) -}}
{{- $asked := regexMatch "(?i)://.*[?&](password|passwd|pwd|token|secret)=" (toString $address) -}}
{{- if or $asked (and (regexMatch "://[^/]*:[^/]*@" (toString $address)) (not $hidden)) -}}
{{- $m = append $m (printf "%s contains a password: seal it, and write user:sealed:NAME@ or only user@" $name) -}}
{{- end -}}
{{- end -}}
{{- $ours := list "MARTS_CONFIG" "MARTS_POLICY" "MARTS_SECRETS__FILE" "MARTS_SECRETS__KEY_FILE" "MARTS_EXPECTATIONS" "HOME" -}}
{{- $ours = concat $ours (list "POD_NAME" "POD_NAMESPACE" "JOB_NAME" "RAY_AUTH_MODE" "RAY_AUTH_TOKEN_PATH") -}}
{{- range $where, $variables := dict "extraEnv" .Values.extraEnv "pages.extraEnv" .Values.pages.extraEnv -}}
{{- range $variables -}}
{{- if has .name $ours -}}
{{- $m = append $m (printf "%s has %s, which the chart sets" $where .name) -}}
{{- end -}}
{{- $secret := "(?i)(^|_)(password|passwd|passphrase|pass|pwd|secret|(secret|access|api|private|account|master)_?key|token|credentials?|dsn|webhook(_url)?)$" -}}
{{- if and .value (or (regexMatch $secret .name) (regexMatch "://[^/]*:[^/]*@|-----BEGIN" .value)) -}}
{{- $m = append $m (printf "%s has %s in plain text: seal it (`marts secrets set`), or use valueFrom" $where .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.mode "submit" -}}
{{- if not (or .Values.rayCluster.create .Values.submit.address) -}}
{{- $m = append $m "mode submit needs a cluster: rayCluster.create, or submit.address" -}}
{{- end -}}
{{- else if .Values.submit.address -}}
{{- $m = append $m (printf "submit.address has no effect in mode %s" .Values.mode) -}}
{{- end -}}
{{- range $who := list "launcher" "watchdog" "builder" "pages" -}}
{{- with get $.Values.serviceAccount $who -}}
{{- if and (not .create) (not .name) -}}
{{- $m = append $m (printf "serviceAccount.%s.name is missing: with create: false, name an existing account" $who) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if ne .Values.mode "local" -}}
{{- $memory := toString (dig "limits" "memory" "" .Values.ray.head.resources) -}}
{{- if not (or (regexMatch "^([4-9]|[0-9]{2,})(\\.[0-9]+)?(Gi|Ti)$" $memory) (and (hasSuffix "Mi" $memory) (ge (trimSuffix "Mi" $memory | int) 4096))) -}}
{{- $m = append $m (printf "ray.head.resources.limits.memory is %q: at least 4Gi, in Gi or Mi" $memory) -}}
{{- end -}}
{{- end -}}
{{/* Resources of each pod, by their path in the values. */}}
{{- $asked := dict -}}
{{- range $part := list "launcher" "vacuum" "monthly" "watchdog" "oneOff" "doctor" "pages" -}}
{{- $_ := set $asked (printf "%s.resources" $part) (get $.Values $part).resources -}}
{{- end -}}
{{- $withRay := dict "local.resources" .Values.local.resources -}}
{{- if ne .Values.mode "local" -}}
{{- $withRay = dict "ray.head.resources" .Values.ray.head.resources "ray.worker.resources" .Values.ray.worker.resources -}}
{{- range .Values.ray.workerGroups -}}
{{- if .resources -}}
{{- $_ := set $withRay (printf "ray.workerGroups %s: resources" .name) .resources -}}
{{- end -}}
{{- end -}}
{{- $_ := set $asked "ray.autoscaler.resources" .Values.ray.autoscaler.resources -}}
{{- $groups := (include "martwright.workerGroups" . | fromJson).groups -}}
{{- $names := list "headgroup" -}}
{{- range $groups -}}
{{- if or (gt (.minReplicas | int) (.replicas | int)) (gt (.replicas | int) (.maxReplicas | int)) -}}
{{- $m = append $m (printf "workers %s: minReplicas (%v), replicas (%v), maxReplicas (%v) must be in ascending order" .name .minReplicas .replicas .maxReplicas) -}}
{{- end -}}
{{- if has .name $names -}}
{{- $m = append $m (printf "ray.workerGroups has %s twice, or it is reserved (worker is ray.worker, headgroup the head)" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- range .Values.jobs -}}
{{- if .resources -}}
{{- $_ := set $asked (printf "job %s: resources" .name) .resources -}}
{{- end -}}
{{- end -}}
{{- range $where, $resources := merge $asked $withRay -}}
{{- range $what, $request := $resources.requests -}}
{{- $limit := get ($resources.limits | default dict) $what -}}
{{- if and (toString $limit) (gt (include "martwright.quantity" $request | float64) (include "martwright.quantity" $limit | float64)) -}}
{{- $m = append $m (printf "%s.requests.%s (%v) is above its limit (%v): Kubernetes would reject each pod" $where $what $request $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.ray.shmSize -}}
{{- $shm := include "martwright.quantity" . | float64 -}}
{{- range $where, $resources := $withRay -}}
{{- $memory := dig "limits" "memory" "" $resources -}}
{{- $most := include "martwright.quantity" $memory | float64 -}}
{{- if and (toString $memory) (or (gt $shm $most) (lt $shm (mulf 0.3 $most))) -}}
{{- $m = append $m (printf "ray.shmSize is %s, and must be 30 %% to 100 %% of %s.limits.memory (%v): below, Ray puts its object store on disk; above, the pod is OOM-killed. Leave it empty" $.Values.ray.shmSize $where $memory) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $r := .Values.rayJob -}}
{{- if eq .Values.mode "rayjob" -}}
{{- if ge ($r.preRunningDeadlineSeconds | int) ($r.activeDeadlineSeconds | int) -}}
{{- $m = append $m "rayJob.preRunningDeadlineSeconds must be below rayJob.activeDeadlineSeconds" -}}
{{- end -}}
{{- $shown := dig "metrics" "ray" 120 .Values.settings | int -}}
{{- if le ($r.ttlSecondsAfterFinished | int) $shown -}}
{{- $m = append $m (printf "rayJob.ttlSecondsAfterFinished must be above the %d seconds that metrics are shown for (settings.metrics.ray)" $shown) -}}
{{- end -}}
{{- if and .Values.podMonitor.enabled (le ($r.ttlSecondsAfterFinished | int) (trimSuffix "s" .Values.podMonitor.interval | int)) -}}
{{- $m = append $m "rayJob.ttlSecondsAfterFinished must be above podMonitor.interval" -}}
{{- end -}}
{{- end -}}
{{- $seen := dict -}}
{{- range (include "martwright.jobs" . | fromJson).jobs -}}
{{- $name := printf "%s-%s" $fullname .name -}}
{{- if gt (len $name) 36 -}}
{{- $m = append $m (printf "job %s: its CronJob's name %s has %d characters, and KubeRay's names leave room for 36; see fullnameOverride" .name $name (len $name)) -}}
{{- end -}}
{{- if hasKey $seen .name -}}
{{- $m = append $m (printf "job %s is defined twice" .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- if and .mart (ne .command "build") -}}
{{- $m = append $m (printf "job %s: mart needs the command build" .name) -}}
{{- end -}}
{{- if and .asOf (ne .command "build") -}}
{{- $m = append $m (printf "job %s: asOf needs the command build" .name) -}}
{{- end -}}
{{- range .args -}}
{{- if regexMatch "^--as-of(=|$)" . -}}
{{- $m = append $m "a job's args have --as-of: set its asOf; by default it is the scheduled day" -}}
{{- end -}}
{{- end -}}
{{- $period := include "martwright.period" .schedule | int -}}
{{- if and (gt $period 0) (ge (.startingDeadlineSeconds | int) $period) -}}
{{- $m = append $m (printf "job %s: startingDeadlineSeconds (%d) must be below its period (%d)" .name (.startingDeadlineSeconds | int) $period) -}}
{{- end -}}
{{- if and .maxAge (gt $period 0) (le (.maxAge | int) $period) -}}
{{- $m = append $m (printf "job %s: maxAge (%d) must be above its period (%d)" .name (.maxAge | int) $period) -}}
{{- end -}}
{{- if and (eq .command "build") (eq $.Values.mode "rayjob") -}}
{{- $attempts := include "martwright.attempts" $ | int -}}
{{- if le (.activeDeadlineSeconds | int) $attempts -}}
{{- $m = append $m (printf "job %s: activeDeadlineSeconds (%d) must be above the %d of all attempts of its RayJob" .name (.activeDeadlineSeconds | int) $attempts) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.pages.enabled -}}
{{- $m = concat $m (include "martwright.mistakesOfPages" . | fromJson).mistakes -}}
{{- end -}}
{{- dict "mistakes" ($m | uniq) | toJson -}}
{{- end }}

{{/* Errors in the values of the dashboard, as {"mistakes": […]}. */}}
{{- define "martwright.mistakesOfPages" -}}
{{- $m := list -}}
{{- $pages := .Values.pages -}}
{{- if not $pages.auth -}}
{{- $m = append $m "pages.auth is missing: token (pages.token in the sealed file), proxy (with pages.proxies), or none for everybody who reaches it" -}}
{{- else if and (eq $pages.auth "proxy") (not $pages.proxies) -}}
{{- $m = append $m "pages.proxies is missing: the addresses of the reverse proxy, which alone may name a user" -}}
{{- end -}}
{{- if not $pages.existingSecret -}}
{{- $m = append $m "pages.existingSecret is missing: the Secret of a sealed file with the password of pages.database.user (docs/pages.md)" -}}
{{- else if eq $pages.existingSecret .Values.existingSecret -}}
{{- $m = append $m "pages.existingSecret is existingSecret: the dashboard would have the credentials of the builds; give it a sealed file of its own" -}}
{{- end -}}
{{- if hasPrefix "duckdb:" .Values.target -}}
{{- $m = append $m "pages.enabled needs a MySQL or MariaDB target: a DuckDB file cannot be read while a build writes it" -}}
{{- end -}}
{{- if eq (regexFind "^mysql://[^:@/]*[:@]" .Values.target | trimPrefix "mysql://" | trimAll ":@") $pages.database.user -}}
{{- $m = append $m (printf "pages.database.user is %s, the user of target: give the dashboard one who may only read" $pages.database.user) -}}
{{- end -}}
{{- if and .Values.pack (not (hasKey .Values.pack "dashboard.toml")) -}}
{{- $m = append $m "pack has no dashboard.toml, which says what the dashboard shows" -}}
{{- end -}}
{{- if and $pages.ingress.enabled (not $pages.ingress.host) -}}
{{- $m = append $m "pages.ingress.host is missing: the host name of the dashboard" -}}
{{- end -}}
{{- with dig "mysql" "ssl_ca" "" .Values.settings -}}
{{- $ca := . -}}
{{- $mounted := dict "extraVolumeMounts" false "pages.extraVolumeMounts" false -}}
{{- range $where, $mounts := dict "extraVolumeMounts" $.Values.extraVolumeMounts "pages.extraVolumeMounts" $pages.extraVolumeMounts -}}
{{- range $mounts -}}
{{- if or (eq .mountPath $ca) (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $ca) -}}
{{- $_ := set $mounted $where true -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (get $mounted "extraVolumeMounts") (not (get $mounted "pages.extraVolumeMounts")) -}}
{{- $m = append $m (printf "settings.mysql.ssl_ca is %s, which the dashboard has not: mount it by pages.extraVolumes and pages.extraVolumeMounts, too" $ca) -}}
{{- end -}}
{{- end -}}
{{- dict "mistakes" $m | toJson -}}
{{- end }}
