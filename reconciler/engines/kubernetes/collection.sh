#!/bin/sh
# Lists the artifacts of a namespace's part of a bucket, or carries out orders on them.
#
#   /.reconciler/busybox sh /.reconciler/collection.sh
#
# The state of an artifact is the name of its marker, as in engines/local/artifact_places.py:
#
#   completed.json  <->  .reconciler-collected.json  ->  .reconciler-removing.json  ->  nothing
#
# so that each step is one rename, and SIGKILL between any two leaves what the next order finds.
# RECONCILER_ORDERS has a line "hide PATH", "restore PATH" or "remove PATH" each; none is begun from
# RECONCILER_EXPIRES on, in seconds of the epoch. Without orders the artifacts are listed:
#
#   PATH complete|hidden|removing BYTES BASE DATASET ARTIFACT    of the marker; a key, or "-"
#   PATH unreadable                                              its marker is none
#   PATH closed                                                  no artifact: a folder, or what is in one, that
#                                                                this user may not open
#   end LINES PROOFS
#
# With orders, what has come of each:
#
#   PATH complete|hidden|removed BYTES       its state now; the bytes that were freed
#   PATH gone|late|failed 0                  without a marker; refused, as its time is over; see above it,
#                                            or this user may not open its folder
#   end LINES PROOFS
#
# PROOFS, of the bucket being mounted there, are the artifacts before any order, and .reconciler-part.
# That is left by orders where artifacts are: without it, nothing at all would be said to be gone once
# the last one is. Without its last line an output counts for nothing. A folder that cannot be read
# for another reason than its mode ends it.
# shellcheck disable=SC3040  # ash has it
set -u -o pipefail
home=${0%/*}
work=$home/work
PATH=$home/bin
export PATH LC_ALL=C
complete=completed.json hidden=.reconciler-collected.json removing=.reconciler-removing.json
part=.reconciler-part
trap 'exit 143' TERM # PID 1 would ignore it

mkdir -p "$work" && cd "$RECONCILER_ARTIFACT" || exit 1

closed() { # whether find failed of folders alone that this user may not open, which are kept
    [ -s "$work/errors" ] && ! grep -qv '^find: \./.*: Permission denied$' "$work/errors" &&
        sed -n 's,^find: \./\([a-z0-9./-]*\): Permission denied$,\1,p' "$work/errors" >"$work/closed"
}
: >"$work/closed"
# KIND/NAME/KEY, and KIND/NAME/evaluations/KEY; in an artifact no folder is opened.
find . -mindepth 4 -maxdepth 5 \( -type d ! -path './*/*/evaluations/*' -prune \) -o \
    -type f \( -name $complete -o -name $hidden -o -name $removing \) -print \
    >"$work/found" 2>"$work/errors" || closed || { cat "$work/errors"; echo "the bucket cannot be read"; exit 1; }
sort "$work/found" >"$work/markers" || exit 1
exec 2>/dev/null # a log has both: what rm says of one artifact would void what came of the others

in_time() { [ "$(date +%s)" -lt "$RECONCILER_EXPIRES" ]; }
state_of() { # DIRECTORY: the name of its marker in `state`, nothing without one
    for state in $complete $hidden $removing ''; do
        [ -n "$state" ] || return 0
        ! grep -qxF "./$1/$state" "$work/markers" || return 0
    done
}
is_closed() { # DIRECTORY: whether what it has may not be seen
    while IFS= read -r folder; do
        case "$1/" in "$folder"/*) return ;; esac
        case "$folder/" in "$1"/*) return ;; esac
    done <"$work/closed"
    false
}
durable() { # DIRECTORY: its names; a store behind rclone has done what was answered
    [ -n "${RECONCILER_RCLONE:-}" ] || sync "$1"
}
move() { # DIRECTORY FROM TO
    [ ! -d "$1/$3" ] && mv -f "$1/$2" "$1/$3" && durable "$1"
}
clear() { # DIRECTORY: its files, the marker last; their bytes in `freed`
    freed=$(find "$1" -type f -print0 | xargs -0 -r stat -c %s | awk '{ n += $1 } END { printf "%.0f", n }') &&
        find "$1" -mindepth 1 -maxdepth 1 ! -name $removing -print0 | xargs -0 -r rm -rf -- &&
        durable "$1" && rm -f "$1/$removing" || return
    "$home/busybox" rmdir "$1" 2>/dev/null || : # a run may have begun there; nothing of it is removed
}
carry_out() { # ORDER DIRECTORY: what has come of it in `outcome`
    freed=0 outcome=failed
    state_of "$2"
    [ -n "$state" ] || { is_closed "$2" || outcome=gone; return; }
    in_time || { outcome=late; return; }
    case $1 in
    hide)
        case $state in
        "$complete") move "$2" $complete $hidden && outcome=hidden ;;
        *) outcome=hidden ;;
        esac
        ;;
    restore)
        case $state in
        "$complete") outcome=complete ;;
        "$hidden") move "$2" $hidden $complete && outcome=complete ;;
        *) clear "$2" && outcome=removed ;;
        esac
        ;;
    remove)
        case $state in
        "$complete") outcome=complete ;;
        "$hidden") move "$2" $hidden $removing && clear "$2" && outcome=removed ;;
        *) clear "$2" && outcome=removed ;;
        esac
        ;;
    esac
    [ $outcome = removed ] || freed=0 # what a removal that failed leaves is not counted
}
left=0
[ ! -f $part ] || [ -L $part ] || left=1
if [ -n "${RECONCILER_ORDERS:-}" ]; then
    artifacts=$(sed 's,/[^/]*$,,' "$work/markers" | uniq | awk 'END { print NR }')
    if [ $left = 0 ] && [ "$artifacts" -gt 0 ] && in_time; then
        # Through no link, and not where this user may not write.
        (set -C && echo "Artifacts are collected here; without this file an empty folder counts as unmounted." >$part) &&
            durable .
    fi
    printf '%s\n' "$RECONCILER_ORDERS" >"$work/orders"
    lines=0
    while read -r order place; do
        carry_out "$order" "$place"
        printf '%s %s %s\n' "$place" "$outcome" "$freed"
        lines=$((lines + 1))
    done <"$work/orders"
    echo "end $lines $((artifacts + left))"
    exit
fi
awk -v mode=facts -v left=$left -v closed="$work/closed" -v file="$work/markers" -f "$home/wrapper.awk"
