# buildkit IMAGE DOCKERFILE_FOLDER BUILDCTL_ARGUMENT...: builds, pushes, and leaves the digest where
# the kubelet looks for it. Exits with 210 where not the source is to blame.
set -eu
image=$1 context=$2
shift 2
log=/tmp/build.log
fail() { # CLASS MESSAGE
  echo "$2" >&2
  text=$(printf '%.600s' "$2" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')
  code=InfrastructureFailed
  [ "$1" != command ] || code=BuildFailed
  printf '{"v":1,"state":"failed","class":"%s","reason":"%s","message":"%s"}' "$1" "$code" "$text" \
    >/dev/termination-log
  [ "$1" = command ] || exit 210
  exit 1
}
warnings() { # CONTEXT: of the source, as JSON; the local engine has the same in lfs.py
  found=$(cd "$1" && find . -type f -size -1025c -exec \
    grep -l '^version https://git-lfs.github.com/spec/v1$' {} + | sed 's,^\./,,' | LC_ALL=C sort)
  [ -n "$found" ] || return 0
  count=$(printf '%s\n' "$found" | wc -l)
  text=$(printf '%s\n' "$found" | head -n 3 | awk '{ printf "%s%s", (NR > 1 ? ", " : ""), $0 }')
  [ "$count" -le 3 ] || text="$text, and $((count - 3)) more"
  text="the source has Git LFS pointers in place of files: $text"
  echo "$text" >&2
  printf '{"reason":"GitLfsPointers","message":"%s"}' \
    "$(printf '%.600s' "$text" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')"
}
finish() { # DIGEST
  echo "pushed ${image%:*}@$1"
  printf '{"v":1,"state":"complete","image":"%s","warnings":[%s]}' "${image%:*}@$1" \
    "$(warnings "$context")" >/dev/termination-log
  exit 0
}
# A shell that is the first process ends on no signal that it has not asked for.
trap 'exit 143' TERM INT

[ ! -f /source/ca.crt ] || export SSL_CERT_FILE=/source/ca.crt
export HOME="$STATE" XDG_RUNTIME_DIR="$STATE/run" BUILDKIT_HOST="unix://$STATE/run/buildkitd.sock"
mkdir -p "$XDG_RUNTIME_DIR"
printf '%s' "$BUILDKITD_CONFIG" >"$STATE/buildkitd.toml"
set_up="buildkitd --config $STATE/buildkitd.toml --root $STATE/root --addr $BUILDKIT_HOST"
set_up="$set_up --oci-worker-net=host"
# /run is root's; what is copied up is a tmpfs that the user of the namespace may write.
[ "$(id -u)" = 0 ] || set_up="rootlesskit --copy-up=/run $set_up --oci-worker-no-process-sandbox"
$set_up >/tmp/buildkitd.log 2>&1 &
daemon=$!
tries=0
until buildctl debug workers >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -gt 300 ] || ! kill -0 "$daemon" 2>/dev/null; then
    tail -n 20 /tmp/buildkitd.log >&2
    reason=$(grep -m 1 -e '^buildkitd: ' -e ' error: ' /tmp/buildkitd.log || tail -n 1 /tmp/buildkitd.log)
    fail infrastructure "BuildKit did not start: $reason"
  fi
  sleep 0.2
done

# The tag is the key: if it is there, then so is what would be built. Only the manifest is read.
mkdir -p /tmp/probe
echo "FROM $image" >/tmp/probe/Dockerfile
if buildctl build --progress=plain --frontend dockerfile.v0 \
  --local context=/tmp/probe --local dockerfile=/tmp/probe >/tmp/probe.log 2>&1; then
  digest=$(sed -n 's/.*FROM .*@\(sha256:[0-9a-f]\{64\}\).*/\1/p' /tmp/probe.log | head -n 1)
  [ -z "$digest" ] || finish "$digest"
fi

mkfifo /tmp/output
tee "$log" </tmp/output &
tee=$!
buildctl build --progress=plain --frontend dockerfile.v0 \
  --local "context=$context" --local "dockerfile=$context" \
  --metadata-file /tmp/metadata.json "$@" >/tmp/output 2>&1 &
code=0
wait $! || code=$?
wait "$tee"
if [ "$code" = 0 ]; then
  digest=$(sed -n 's/.*"containerimage.digest": *"\(sha256:[0-9a-f]\{64\}\)".*/\1/p' /tmp/metadata.json)
  [ -n "$digest" ] || fail infrastructure "BuildKit did not say what it pushed"
  finish "$digest"
fi
reason=$(grep -i '^error: ' "$log" | tail -n 1)
case "$reason" in
*"did not complete successfully"*) fail command "$reason" ;;
*"failed to push"* | *"failed to do request"* | *"dial tcp"* | *"i/o timeout"* | *"TLS handshake"* | *"x509:"* | \
  *"connection refused"* | *"connection reset"* | *"no space left"* | *"unexpected status"* | \
  *"no such host"* | *"server misbehaving"* | *"too many requests"* | *"unexpected EOF"*)
  fail infrastructure "$reason" ;;
*) fail command "${reason:-BuildKit failed: $(tail -n 1 "$log")}" ;;
esac
