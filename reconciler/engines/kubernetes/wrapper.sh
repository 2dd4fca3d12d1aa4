#!/bin/sh
# shellcheck disable=SC2317,SC2015,SC2034,SC2154  # stop() is a trap; A && B || C is meant; program.sh uses and sets
# Carries out one attempt of a load or a training in the user's container.
#
#   /.reconciler/busybox sh /.reconciler/wrapper.sh COMMAND [ARGUMENT ...]
#
# POSIX ash under a static busybox and nothing else: the image may hold one static program. What
# to do stands in RECONCILER_* (wrapper.py, environment), which the command never sees. `model` is
# the directory that the command writes: the mounted artifact itself (direct), or local disk
# (staged). Steps are ordered so that SIGKILL between any two leaves no marker and no half file
# that a later attempt would take for whole.
#
# Reserved files of an artifact, none of them in the marker's list:
#   completed.json                  the marker, written last
#   model.sig                       a signature over the marker and the files that it lists
#   logs/attempt-N.log              rank 0; creating it, exclusively, is what numbers an attempt
#   logs/progress-N.jsonl           the curves of an attempt, where it reported to the daemon
#   logs/attempt-N.rank-R.log       the other ranks, which learn N from rank 0
#   .reconciler-spent-N             GPU seconds of an attempt that did not complete, to the minute
#   .reconciler-list-N-S            staged: what is whole after copy S of attempt N; the last counts
#   .reconciler-copy-N-S/           staged: files of copy S that would have overwritten listed ones
#   .reconciler-ranks-RUN-attempt   several nodes: holds N, once rank 0 of this run has begun
#   .reconciler-ranks-RUN-R         several nodes: rank R of this run is done
#
# The command has a session of its own. As POSIX has it for what a shell starts in the background,
# it ignores SIGINT and SIGQUIT; whatever signal stops the container reaches it as SIGTERM.
# shellcheck disable=SC3040  # ash has it
set -u -o pipefail
umask 022 # pods of other users read artifacts

environment=$(export -p) # of the image and the pod, whatever the names used below
user_path=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
home=${0%/*}
work=$home/work
PATH=$home/bin
export PATH LC_ALL=C # bytes sort as Python sorts code points

artifact=$RECONCILER_ARTIFACT
stage=${RECONCILER_STAGE:-}
model=${stage:-$artifact}
rclone=${RECONCILER_RCLONE:-}
nodes=${RECONCILER_NODES:-1}
rank=${RECONCILER_RANK:-${JOB_COMPLETION_INDEX:-0}}
gpus=${RECONCILER_GPUS:-0}
poll=${RECONCILER_POLL:-1}
ranks=$artifact/.reconciler-ranks-${RECONCILER_RUN:-none}
termination=${RECONCILER_TERMINATION:-/dev/termination-log}
infrastructure=210 # exit code: not the command's fault
terminated=143     # exit code: told to end, so it must not look complete
cr=$(printf '\r')
phase=before pid='' interrupted='' told='' stopped='' streaming='' log=''
attempt=0 code='' seconds='' lost='' spent=0 recorded='' meter='' total=0 metrics='' warnings='' summing=''

say() { # a line of our own, to the container's log and the attempt's
    if [ -n "$streaming" ]; then printf '[reconciler] %s\n' "$*" >&9; return; fi
    printf '[reconciler] %s\n' "$*"
    [ -z "$log" ] || printf '[reconciler] %s\n' "$*" >>"$log"
}

report() { # STATE CLASS REASON MESSAGE: to the kubelet, which keeps this when the container ends
    attempt=$attempt code=$code seconds=$seconds total=$total metrics=$metrics lost=$lost warnings=$warnings \
        state=$1 class=$2 reason=$3 said=$4 awk -v mode=report -v file="$work/tail" -f "$home/wrapper.awk" \
        >"$termination" || :
}
leave() { # EXIT CLASS REASON MESSAGE; reasons are reconciler.reasons.ReasonCode
    trap '' TERM INT QUIT HUP
    [ -z "$4" ] || say "$4"
    [ -z "$2" ] || record_spent "$spent"
    if [ -z "$2" ]; then report complete "" "" "$4"; else report failed "$2" "$3" "$4"; fi
    exit "$1"
}
fail() { leave "$infrastructure" infrastructure BucketFailed "$*"; }
record_spent() { # HUNDREDTHS: what an attempt cost that did not complete
    [ "$rank" != 0 ] || [ "$1" = 0 ] || [ "$recorded" = "$1" ] ||
        hundredths "$1" >"$artifact/.reconciler-spent-$attempt"
    recorded=$1
}
start_meter() { # one that is killed has left, but for a minute, what it cost
    [ "$rank" = 0 ] && [ "$gpus" != 0 ] || return 0
    while sleep "${RECONCILER_METER:-60}"; do
        record_spent $((($(clock) - begun) * gpus * nodes))
    done >/dev/null 2>&1 9>&- &
    meter=$!
}
stop_meter() {
    [ -n "$meter" ] || return 0
    kill -KILL "$meter" # a SIGTERM is lost on a shell that still has our trap, as it was just forked
    reap "$meter"
} 2>/dev/null # where the shell says "Killed"
stop() { # the container is to end: the command first, then what it left is saved
    interrupted=1 told=1
    case $phase in
    before) leave "$terminated" infrastructure Interrupted "ended before the command started" ;;
    waiting) leave "$terminated" infrastructure Interrupted "ended while waiting for the other ranks" ;;
    running)
        [ -z "$stopped" ] || return 0
        stopped=1
        tries=0 # it may have been forked this moment and have no session yet
        until kill -TERM -"$pid" 2>/dev/null || [ $((tries += 1)) -gt 200 ]; do usleep 5000; done
        # Of the pod's grace this much is the command's; the rest is for copying what it wrote.
        [ -z "${RECONCILER_GRACE:-}" ] || { sleep "$RECONCILER_GRACE" && kill -KILL -"$pid"; } \
            >/dev/null 2>&1 9>&- &
        ;;
    esac
}
reap() { # PID: its exit code in `reaped`, however often a signal interrupts the wait
    reaped=''
    while
        interrupted=''
        wait "$1"
        now=$?
        [ "$now" = 127 ] && [ -n "$reaped" ] || reaped=$now
        [ -n "$interrupted" ]
    do :; done
}
clock() { # hundredths of a second, of a clock that is never set
    read -r up _ </proc/uptime
    echo $((${up%.*} * 100 + 1${up#*.} - 100))
}
hundredths() { printf '%d.%02d\n' $(($1 / 100)) $(($1 % 100)); }
each() { tr '\n' '\0' | xargs -0 -r "$@"; } # PROGRAM...: run on lines, many at a time

# --- several nodes -----------------------------------------------------------------------------
# RECONCILER_RUN is the Job's UID and a Job is one attempt of all ranks, so what an earlier attempt
# left says nothing about this one.
await() { # FILE: until another rank has written it; the kubelet's deadline or SIGTERM end it
    until [ -s "$1" ]; do
        # The mount's directory cache is older than the file.
        [ -z "$rclone" ] || timeout 20 wget -Y off -q -O - --post-data '' "http://$rclone/vfs/forget"
        sleep "$poll"
    done >/dev/null 2>&1
}

# shellcheck disable=SC1091  # each is checked by itself
. "$home/artifact.sh"
# shellcheck disable=SC1091
. "$home/program.sh"
# shellcheck disable=SC1091
. "$home/attempt.sh"
# shellcheck disable=SC1091
. "$home/progress.sh"

# --- the attempt -------------------------------------------------------------------------------
check_inputs() { # what tasks made is read only if it is complete: NAME=KEY:DIRECTORY, a word each
    for input in ${RECONCILER_INPUTS:-}; do
        lost=${input%%=*} place=${input#*:} key=${input#*=} key=${key%%:*}
        how=$(verified "$lost") unread='' wrong="it has no completed.json of $key"
        grep -q -m 1 "^ *\"key\": \"$key\",\{0,1\}$" "$place/completed.json" 2>/dev/null &&
            { [ -z "$how" ] || compare "$place" "$key" "$how"; } && continue
        check_readable "$place" "$lost"
        leave "$infrastructure" infrastructure ArtifactLost "the $lost is gone or damaged: $wrong"
    done
    lost=''
}
unsuccessful() { # REASON MESSAGE
    record_spent "$spent"
    say "$2"
    [ -z "$stage" ] || save || say "not all that the command left is in the bucket"
    log=''
    if [ -n "$stopped" ]; then
        [ "$code" != 0 ] || code=$terminated
        leave "$code" infrastructure Interrupted "stopped; $2"
    fi
    # A mount that broke: a command that could not read or write is not to blame.
    is_there "$model" || fail "the artifact's directory cannot be read any more: $2"
    for input in ${RECONCILER_INPUTS:-}; do
        is_there "${input#*:}" || fail "the ${input%%=*} cannot be read any more: $2"
    done
    ! full || leave "$infrastructure" infrastructure DiskFull "the disk is full: $2"
    [ ! -e "$work/unlogged" ] || fail "the log could not be written any more: $2"
    # A store that takes no object of ours took none of the command's.
    [ -n "$stage" ] || ! lacks atomic-rename || cp /dev/null "$artifact/.reconciler-probe" 2>/dev/null ||
        fail "the artifact's directory cannot be written any more: $2"
    exit=$code
    case $exit in 0 | "$infrastructure" | "$terminated") exit=1 ;; esac
    leave "$exit" command "$@"
}

# --- what happens, in order --------------------------------------------------------------------
if [ -n "${RECONCILER_INVENTORY:-}" ]; then
    mkdir -p "$work" && inventory
    exit
fi
trap stop TERM INT QUIT HUP
rm -rf "$work" "${progress%/*}"
mkdir -p "$work" "${progress%/*}" "$artifact/logs" "$model/logs" || fail "the artifact's directory cannot be written"
: >"$work/tail"
# shellcheck disable=SC1091  # staged.sh is checked by itself
[ -z "$stage" ] || . "$home/staged.sh"

find_marker
check_inputs
find_program "$1"
if [ "$rank" = 0 ]; then
    rm -f "$artifact/completed.json" "$artifact/model.sig" || fail "an invalid completed.json cannot be removed"
    number_attempt
    log=$model/logs/attempt-$attempt.log
    # Before the command has cost anything: a store that does not take this takes nothing of it.
    [ -z "$stage" ] || barrier || fail "the bucket does not take what is written; the command is not started"
    if [ "$nodes" -gt 1 ]; then
        rm -f "$artifact"/.reconciler-ranks-*
        echo "$attempt" >"$ranks-attempt" || fail "the other ranks cannot be told of the attempt"
    fi
else
    await "$ranks-attempt"
    attempt=$(head -c 9 "$ranks-attempt" | tr -cd 0-9)
    log=$model/logs/attempt-$attempt.rank-$rank.log
fi
[ -z "$stage" ] || restore
open_log
report began "" "" ""
started_at=$(date -u +%Y-%m-%dT%H:%M:%SZ) begun=$(clock)
[ -z "$stage" ] || [ "$rank" != 0 ] || start_copying
start_meter
run "$@"
seconds=$(($(clock) - begun)) finished_at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
# shellcheck disable=SC2034  # for staged.sh
ended_at=$(date +%s)
stop_meter
spent=$((seconds * gpus * nodes)) seconds=$(hundredths "$seconds")
[ -z "$stage" ] || [ "$rank" != 0 ] || stop_copying
close_log
keep_curves
cause=CommandFailed
! out_of_memory || cause=OutOfMemory
[ ! -e "$work/stalled" ] || cause=Stalled
[ "$code" = 0 ] && [ -z "$stopped" ] && [ "$cause" != Stalled ] || unsuccessful "$cause" "$(ended "$@")"

if [ "$nodes" -gt 1 ] && [ "$rank" != 0 ]; then
    if [ -n "$stage" ]; then save; else durable_so_far; fi || fail "what this rank wrote is not safe"
    echo "done" >"$ranks-$rank" && { [ -z "$stage" ] || barrier; } || fail "rank 0 cannot be told"
    leave 0 "" "" ""
fi
[ "$nodes" = 1 ] || [ -z "$stage" ] || save || fail "the command's files cannot be copied"
phase=waiting other=1
[ "$nodes" = 1 ] || [ -z "$told" ] || stop # it came when there was nothing to stop
while [ "$other" -lt "$nodes" ]; do
    await "$ranks-$other"
    other=$((other + 1))
done
phase=after
read_metrics
make_links_relative "$model" && list_files "$model" >"$work/files"
case $? in
0)
    [ -s "$work/files" ] || warn ArtifactEmpty \
        "the artifact has no file: the command has written nothing into its directory"
    finish
    ;;
1) unsuccessful ArtifactIncomplete "$(cat "$work/why")" ;;
*) fail "the files of the artifact cannot be read" ;;
esac
leave 0 "" "" ""
