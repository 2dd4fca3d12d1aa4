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
trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT
code=0
wait "$child" || code=$?
# A signal ends the first wait; rclone then writes out what it holds and unmounts.
while kill -0 "$child" 2>/dev/null; do wait "$child" || code=$?; done
clear
exit "$code"
