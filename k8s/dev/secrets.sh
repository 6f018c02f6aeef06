#!/usr/bin/env bash
# Make new passwords for the development stack: for its servers in plain, and for us as a sealed file with a new key.
# Values go through files and pipes, never through arguments. Needs marts, kubectl and openssl.
set -euo pipefail
namespace=marts-dev
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
access=$(openssl rand -hex 10) secret=$(openssl rand -hex 20) password=$(openssl rand -hex 20)

cat >"$work/s3.json" <<END
{"identities": [{"name": "marts", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "$access", "secretKey": "$secret"}]}]}
END
printf %s "$password" >"$work/password"
kubectl create secret generic dev-services --namespace "$namespace" --dry-run=client --output yaml \
    --from-file="$work/s3.json" --from-file="$work/password" | kubectl apply --filename -

cd "$work"
export MARTS_SECRETS__FILE=$work/credentials.json MARTS_SECRETS__KEY_FILE=$work/key.pem
marts secrets init
printf %s "$access" | marts secrets set s3.access_key
printf %s "$secret" | marts secrets set s3.secret_key
printf %s "$password" | marts secrets set mysql.password
marts secrets export-k8s --name martwright --namespace "$namespace" | kubectl apply --filename -
