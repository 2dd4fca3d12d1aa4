#!/bin/sh
# shellcheck disable=SC2154,SC2034  # sourced by wrapper.sh, which defines and uses these
# The part of wrapper.sh about progress: an attempt that stalls, and what it reports to the daemon.
# A report goes from the command straight to the daemon, or as PROGRESS_FILE through this script.
# It counts on rank 0 alone: the others may have nothing to say.

progress=$home/progress/progress.json
stall=${RECONCILER_STALL:-}
reports=${RECONCILER_REPORTS:-}
watcher=''

daemon() { # [OPTION ...]: a request about this run's reports; its answer
    timeout 10 wget -q -Y off -O - --header "Authorization: Bearer $(head -c 1000 "$RECONCILER_TOKEN")" \
        --header "X-Reconciler-Seconds: $((($(clock) - begun) / 100))" "$@" "$reports"
}
reported_file() { stat -c '%i %y %s' "$progress" 2>/dev/null; }
signs_of_life() { # what changes whenever the command prints, or replaces PROGRESS_FILE
    stat -L -c %s /proc/self/fd/6 # the log ends at a limit, and not every sandbox counts I/O
    grep rchar "/proc/$tee/io"
    reported_file
} 2>/dev/null
start_watch() {
    [ -n "$stall$reports" ] && [ "$rank" = 0 ] || return 0
    watch >/dev/null 2>&1 9>&- &
    watcher=$!
}
watch() {
    seen=$(signs_of_life) alive=$(clock) kept=$alive
    while sleep "${RECONCILER_WATCH:-1}"; do
        post
        [ $(($(clock) - kept)) -lt $((${RECONCILER_CURVES:-60} * 100)) ] || { keep_curves && kept=$(clock); }
        now=$(signs_of_life)
        [ "$now" = "$seen" ] || { seen=$now alive=$(clock); }
        [ -n "$stall" ] && [ $(($(clock) - alive)) -ge $((stall * 100)) ] && ! reported || continue
        : >"$work/stalled"
        kill -TERM -"$pid"
        sleep "${RECONCILER_GRACE:-10}"
        kill -KILL -"$pid"
        return
    done
}
post() { # PROGRESS_FILE, if it is another one; the last of them once the command has ended
    [ -n "$reports" ] && [ -f "$progress" ] || return 0
    now=$(reported_file)
    [ "$now" != "$(cat "$work/posted")" ] || return 0
    echo "$now" >"$work/posted"
    daemon --header 'Content-Type: application/json' --post-data "$(head -c 65537 "$progress")"
}
reported() { # whether the daemon has had a report meanwhile; for one more time of stall, or does not answer
    [ -n "$reports" ] || return 1
    age=$(daemon --header 'Accept: text/plain') ||
        { [ $(($(clock) - alive)) -lt $((stall * 200)) ] && return; }
    case $age in '' | *[!0-9]*) return 1 ;; esac
    [ "$age" -lt "$stall" ] && alive=$(($(clock) - age * 100))
}
stop_watch() {
    [ -n "$watcher" ] || return 0
    kill -KILL "$watcher"
    reap "$watcher"
    post
} >/dev/null 2>&1
keep_curves() { # beside the log, as the daemon has thinned them: a pod that is killed has left them but for a minute
    [ -n "$reports" ] && [ "$rank" = 0 ] || return 0
    if [ -s "$work/curves" ]; then # a daemon that is another one by now gets them first
        daemon --header 'If-Match: "kept"' >"$work/newer" ||
            daemon --header 'Content-Type: application/jsonl' --post-file "$work/curves" >"$work/newer"
    else daemon >"$work/newer"; fi && [ -s "$work/newer" ] && mv "$work/newer" "$work/curves"
    [ ! -s "$work/curves" ] || cat "$work/curves" >"$artifact/logs/progress-$attempt.jsonl"
    return 0
} 2>/dev/null
