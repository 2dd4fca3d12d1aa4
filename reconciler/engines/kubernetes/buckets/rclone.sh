# rclone-mount SOURCE FOLDER FLAG...: mounts SOURCE on FOLDER until it is told to end.
# A mount whose rclone was killed stays behind, dead; nothing may be left that a kubelet trips over.
set -eu
source=$1 folder=$2
shift 2
clear() { umount -l "$folder" 2>/dev/null || true; }
while grep -q " $folder " /proc/mounts; do clear; done
mkdir -p "$folder"
rclone mount "$source" "$folder" "$@" &
child=$!
told=
trap 'told=1; kill -TERM "$child" 2>/dev/null || true' TERM INT
# A signal ends a wait, while rclone writes out what it holds and unmounts: it is waited for again.
while
  code=0
  wait "$child" || code=$?
  kill -0 "$child" 2>/dev/null
do :; done
clear
[ -z "$told" ] || exit 0
exit "$code"
