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
#   logs/attempt-N.log              rank 0; creating it, exclusively, is what numbers an attempt
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
attempt=0 code='' seconds='' lost='' spent=0 recorded='' meter='' total=0 metrics='' warnings=''

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
    kill "$meter" 2>/dev/null
    reap "$meter"
}
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

# --- files -----------------------------------------------------------------------------------
in_artifact() { # find's expression...: on what is not reserved in the working directory
    find . \( -path ./completed.json -o -path './.reconciler*' -o -path ./logs -type d \) -prune \
        -o "$@"
}
make_links_relative() ( # DIRECTORY: those that hold there alone; a consumer mounts it elsewhere
    cd "$1" || return 2
    root=$(pwd -P)
    in_artifact -type l -print >"$work/links" || return 2
    while IFS= read -r link; do
        case /$(readlink "$link")/ in //* | */../*) ;; *) continue ;; esac
        target=$(realpath "$link" 2>/dev/null)
        case $target/ in "$root"/*) ;; *) continue ;; esac # of others list_files says what is wrong
        up='' rest=${link#./} target=${target#"$root"}
        while case $rest in */*) true ;; *) false ;; esac do up=../$up rest=${rest#*/}; done
        target=$up${target#/}
        ln -sfn -- "${target:-.}" "$link" 2>/dev/null && continue
        echo "the symbolic link \"${link#./}\" holds in this directory alone, and cannot be replaced; \
make it relative" >"$work/why"
        return 1
    done <"$work/links"
)
list_files() ( # DIRECTORY: "SIZE/./PATH" by path; a link counts as the file that it leads to
    # 1: it cannot be an artifact, and $work/why says why; 2: it cannot be read.
    cd "$1" || return 2
    root=$(pwd -P)
    in_artifact -name '*
*' -print >"$work/links" || return 2
    if [ -s "$work/links" ]; then
        echo "the name of a file in the artifact has a line break; rename it" >"$work/why"
        return 1
    fi
    in_artifact -type l -print >"$work/links" || return 2
    while IFS= read -r link; do
        [ -e "$link" ] && continue
        echo "the symbolic link \"${link#./}\" in the artifact leads nowhere; remove it" >"$work/why"
        return 1
    done <"$work/links"
    each realpath <"$work/links" >"$work/targets" || return 2
    while IFS= read -r link && IFS= read -r target <&7; do
        case $target in "$root" | "$root"/*) continue ;; esac
        echo "the symbolic link \"${link#./}\" leads out of the artifact; copy the file instead" \
            >"$work/why"
        return 1
    done <"$work/links" 7<"$work/targets"
    # A few processes however many files; 8 is the type of a regular file.
    in_artifact \( -type f -o -type l \) -print0 | xargs -0 -r stat -L -c '%f/%s/%n' |
        sed -n 's,^8[0-9a-f]*/,,p' | sort -t/ -k2 || return 2
)

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

# shellcheck disable=SC1091  # it is checked by itself
. "$home/program.sh"

# --- the attempt -------------------------------------------------------------------------------
find_marker() { # the artifact is complete: end at once
    [ -f "$artifact/completed.json" ] || return 0
    list_files "$artifact" >"$work/files" || return 0
    found=$(awk -v mode=marker -v file="$artifact/completed.json" -v list="$work/files" \
        -v key="$RECONCILER_KEY" -f "$home/wrapper.awk") || return 0
    read_found
    leave 0 "" "" "the artifact is complete; the command is not started"
}
check_inputs() { # what tasks made is read only if it is complete: NAME=KEY:DIRECTORY, a word each
    for input in ${RECONCILER_INPUTS:-}; do
        lost=${input%%=*} place=${input#*:} key=${input#*=} key=${key%%:*}
        grep -q -m 1 "^ *\"key\": \"$key\",\{0,1\}$" "$place/completed.json" 2>/dev/null && continue
        leave "$infrastructure" infrastructure ArtifactLost "the $lost is gone or damaged: it has no completed.json of $key"
    done
    lost=''
}
read_found() { # of the marker: metrics, warnings and GPU seconds, a line each
    metrics=${found%%
*} total=${found##*
} warnings=${found#*
}
    warnings=${warnings%
*}
}
inventory() { # complete artifacts below $artifact: "KIND/NAME/KEY GPU-SECONDS [METRICS, WARNINGS]"
    cd "$artifact" || return
    find . -mindepth 4 -maxdepth 4 -type f -name completed.json | sort >"$work/found"
    while IFS= read -r marker; do
        place=${marker%/completed.json} place=${place#./}
        case $place in *[!a-z0-9./-]*) continue ;; esac # no name of ours
        list_files "$place" >"$work/files" 2>/dev/null || continue
        found=$(awk -v mode=marker -v file="$place/completed.json" -v list="$work/files" \
            -v key="${place##*/}" -f "$home/wrapper.awk") || continue
        read_found
        printf '%s %s [%s, [%s]]\n' "$place" "$total" "$metrics" "$warnings"
    done <"$work/found"
}
number_attempt() { # by creating its log, before anything else of it
    for old in "$artifact"/logs/attempt-*.log; do
        n=${old##*/attempt-} n=${n%.log}
        case $n in '' | *[!0-9]* | ??????????*) continue ;; esac
        while [ "${n#0}" != "$n" ]; do n=${n#0}; done
        [ "${n:-0}" -le "$attempt" ] || attempt=$n
    done
    attempt=$((attempt + 1))
    (set -C && : >"$artifact/logs/attempt-$attempt.log") 2>/dev/null ||
        fail "the log of attempt $attempt cannot be created in the artifact's directory"
    log=$model/logs/attempt-$attempt.log
}
open_log() { # the command's output, live to the container's log and, up to a limit, to a file
    mkfifo "$work/output" "$work/log" && : >"$log" && exec 6<"$log" || fail "$log cannot be written"
    exec 9<>"$work/output" # both ends: neither open waits for the other
    tee "$work/log" <"$work/output" 9>&- &
    tee=$!
    limit=${RECONCILER_LOG_LIMIT:-1073741824}
    {
        dd bs=65536 count="$limit" iflag=count_bytes 2>/dev/null || : >"$work/full"
        tail -c 8192 >"$work/rest"
        [ ! -s "$work/rest" ] || printf '\n[reconciler] %s\n' "the log ends here: it has reached \
its limit of $limit bytes; the command went on"
    } <"$work/log" >/proc/self/fd/6 9>&- & # opened already: the command may clear its directory at once
    writer=$!
    streaming=yes
}
close_log() {
    exec 9>&-
    (sleep 1 && left_over && sleep 4 && kill "$tee") >/dev/null 2>&1 &
    guard=$!
    reap "$tee"
    reap "$writer"
    kill "$guard" 2>/dev/null
    left_over
    streaming=''
    # A command that clears its directory means no harm to its log.
    [ -e "$log" ] || { mkdir -p "${log%/*}" && cat /proc/self/fd/6 >"$log" && exec 6<"$log"; } || :
    if [ -s "$work/rest" ]; then cp "$work/rest" "$work/tail"; else tail -c 8192 "$log" >"$work/tail"; fi
}
left_over() { # end what the command left running
    kill -KILL -"$pid"
    [ $$ = 1 ] || return 0 # the pod's processes are not all ours
    read -r stat </proc/1/stat
    # shellcheck disable=SC2086  # words: state, parent, group
    set -- ${stat##*) }
    ours=$3
    for process in /proc/[0-9]*; do
        read -r stat <"$process/stat" || continue
        # shellcheck disable=SC2086
        set -- ${stat##*) }
        [ "$3" = "$ours" ] || kill -KILL "${process#/proc/}"
    done
} 2>/dev/null
run() { # COMMAND [ARGUMENT ...]: to its end; its exit code in `code`
    shift
    hidden=$(awk 'BEGIN { for (name in ENVIRON) if (name ~ /^RECONCILER_/) printf " %s", name }')
    defaults=$(for word in ${RECONCILER_DEFAULTS:-}; do
        echo "export ${word%%=*}=\"\${${word%%=*}-${word#*=}}\""
    done)
    set -- "$defaults" "$attempt" "$home/busybox" setsid "$program" "$@"
    phase=starting
    (
        # What is the image's comes back last, also where it has the name of one of ours.
        eval "unset LC_ALL environment defaults; $environment; unset $hidden"
        # Of reconciler/command_environment.py, what only the container knows.
        eval "$1"
        export ATTEMPT="$2"
        shift 2
        exec "$@" >&9 2>&1 9>&- 8>&- 6<&-
    ) &
    pid=$!
    phase=running
    [ -z "$told" ] || stop # it came while the command was started
    reap "$pid"
    code=$reaped phase=after
}
out_of_memory() { grep -qs '^oom_kill [1-9]' /sys/fs/cgroup/memory.events; }
windows_script() { # WORD...: the first file among a command's words that has Windows line ends
    for word; do
        [ -f "$word" ] || continue
        case $(first_line "$word") in *"$cr") echo "$word" && return ;; esac
    done
}
ended() { # COMMAND [ARGUMENT ...]: how, in words that engines/local/run_context.py has too
    signal=''
    [ "$code" -le 128 ] || [ "$code" -ge 160 ] || signal=$(kill -l $((code - 128)))
    # Programs end with 255 too, and then it is no signal: it has no name but its number.
    case $signal in
    '' | [0-9]* | RT*)
        signal='' ending="$1 ended with exit code $code" script=$(windows_script "$@")
        [ -z "$script" ] || ending="$ending; $script has Windows line ends"
        ;;
    *) ending="$1, or a process that it started, was killed by SIG$signal" ;; # a shell passes it on
    esac
    if out_of_memory; then ending="$ending; a process was killed for want of memory"
    elif [ "$signal" = KILL ]; then ending="$ending, perhaps for want of memory"; fi
    echo "$ending"
}
warn() { # REASON MESSAGE: of an artifact that is complete all the same
    warnings="${warnings:+$warnings, }$(reason=$1 said=$2 awk -v mode=warning -f "$home/wrapper.awk")"
}
read_metrics() { # one line of JSON, of what is usable
    metrics='{}' file=$model/metrics.json ignored=''
    [ -e "$file" ] || return 0
    if [ ! -f "$file" ]; then ignored="metrics.json is not a file"
    elif [ "$(stat -L -c %s "$file")" -gt 65536 ]; then ignored="metrics.json is larger than 65536 bytes"
    else
        metrics=$(awk -v mode=metrics -v file="$file" -f "$home/wrapper.awk")
        ignored=${metrics#*
} metrics=${metrics%%
*}
    fi
    [ -z "$ignored" ] || [ "$ignored" = "$metrics" ] || { say "$ignored" && warn MetricsIgnored "$ignored"; }
}
full() { # no room was left: not the command's fault. A bucket may say 0 of 0.
    [ -e "$work/full" ] || stat -f -c '%b %a %S' "$model" |
        awk '{ exit !($1 > 0 && $2 * $3 < 1048576) }'
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
    ! full || leave "$infrastructure" infrastructure DiskFull "the disk is full: $2"
    exit=$code
    case $exit in 0 | "$infrastructure") exit=1 ;; esac
    leave "$exit" command "$@"
}
write_marker() { # FILES: from the listing that it is to match
    total=$(for of in "$artifact"/.reconciler-spent-*; do
        [ "${of##*-}" = "$attempt" ] || cat "$of"
    done 2>/dev/null |
        awk -v own="$(hundredths "$spent")" '/^[0-9]{1,12}[.][0-9][0-9]$/ { own += $1 }
            END { printf "%.2f", own }')
    {
        printf '{\n'
        [ -z "${RECONCILER_LINEAGE:-}" ] || printf ' %s,\n' "$RECONCILER_LINEAGE"
        printf ' "version": 1,\n "key": "%s",\n "metrics": %s,\n' "$RECONCILER_KEY" "$metrics"
        [ -z "$warnings" ] || printf ' "warnings": [%s],\n' "$warnings"
        printf ' "started": "%s",\n "finished": "%s",\n "durationSeconds": %s,\n' \
            "$started_at" "$finished_at" "$seconds"
        printf ' "gpuSeconds": %s,\n "attempt": %s,\n "files": [' "$total" "$attempt"
        awk -v mode=files -v file="$1" -f "$home/wrapper.awk" || return
        printf '\n ]\n}\n'
    } >"$work/marker"
}
durable() { # in a file system: every file, and every folder that names one
    (cd "$artifact" && in_artifact \( -type f -o -type d \) -print0 | xargs -0 -r sync) && sync "$log"
}
durable_so_far() { # the same while rank 0 goes on: what it removes meanwhile is no loss
    durable 2>"$work/unsafe" || {
        [ -s "$work/unsafe" ] && ! grep -vE '(No such file or directory|Stale file handle)$' "$work/unsafe"
    } && sync "$log"
}
finish() {
    if [ -n "$stage" ]; then place; else durable; fi || fail "the files of the artifact are not safe"
    write_marker "$work/files" || {
        code=0
        unsuccessful ArtifactIncomplete "the name of a file in the artifact is not UTF-8; rename it"
    }
    if [ -n "$stage" ]; then
        cp "$work/marker" "$artifact/completed.json" && barrier &&
            cmp "$work/marker" "$artifact/completed.json"
    else
        cp "$work/marker" "$artifact/.reconciler-completed" && sync "$artifact/.reconciler-completed" &&
            mv "$artifact/.reconciler-completed" "$artifact/completed.json" && sync "$artifact"
    fi || fail "the marker cannot be written"
    rm -rf "$artifact"/.reconciler-* 2>/dev/null || : # reserved names do no harm
}

# --- what happens, in order --------------------------------------------------------------------
if [ -n "${RECONCILER_INVENTORY:-}" ]; then
    mkdir -p "$work" && inventory
    exit
fi
trap stop TERM INT QUIT HUP
rm -rf "$work"
mkdir -p "$work" "$artifact/logs" "$model/logs" || fail "the artifact's directory cannot be written"
: >"$work/tail"
# shellcheck disable=SC1091  # staged.sh is checked by itself
[ -z "$stage" ] || . "$home/staged.sh"

find_marker
check_inputs
find_program "$1"
if [ "$rank" = 0 ]; then
    rm -f "$artifact/completed.json" || fail "an invalid completed.json cannot be removed"
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
cause=CommandFailed
! out_of_memory || cause=OutOfMemory
[ "$code" = 0 ] && [ -z "$stopped" ] || unsuccessful "$cause" "$(ended "$@")"

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
