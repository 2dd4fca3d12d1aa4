#!/bin/sh
# shellcheck disable=SC2154,SC2034,SC2015  # sourced by wrapper.sh, which defines and uses these
# The part of wrapper.sh about progress: an attempt that stalls, and what it reports to the daemon.
# A report goes from the command straight to the daemon, or as PROGRESS_FILE through this script.
# It counts on rank 0 alone: the others may have nothing to say.

progress=$home/progress/progress.json
stall=${RECONCILER_STALL:-}
reports=${RECONCILER_REPORTS:-} ca=${RECONCILER_CA:-} python=''
watcher=''

daemon() { # [HEADER [FILE]]: a request about this run's reports, which posts the file; its answer
    set -- "${1:-Accept: */*}" "Authorization: Bearer $(head -c 1000 "$RECONCILER_TOKEN")" \
        "X-Reconciler-Seconds: $((($(clock) - begun) / 100))" "${2:-}"
    if [ -z "$python" ]; then
        timeout 10 wget -q -Y off -O - --header "$1" --header "$2" --header "$3" ${4:+--post-file "$4"} "$reports"
        return
    fi
    no_proxy='*' timeout 10 "$python" -Ic 'import ssl,sys,urllib.request as u
_,to,ca,f,*h=sys.argv
to=u.Request(to,f and open(f,"rb").read() or None,dict(x.split(": ") for x in h))
sys.stdout.buffer.write(u.urlopen(to,context=ssl.create_default_context(cafile=ca)).read())' "$reports" "$ca" "$4" "$1" "$2" "$3"
}
find_python() { # of the image: it checks certificates, as busybox does not, and the token is for the daemon alone
    case $reports in https:*) ;; *) return ;; esac
    python=$(PATH=$user_path && command -v python3) && return
    say "no progress is reported: https takes python3 in the image"
    reports=''
}
reported_file() { stat -c '%i %y %s' "$progress" 2>/dev/null; }
signs_of_life() { # what changes whenever the command prints, or replaces PROGRESS_FILE
    stat -L -c %s /proc/self/fd/6 # the log ends at a limit, and not every sandbox counts I/O
    grep rchar "/proc/$tee/io"
    reported_file
} 2>/dev/null
start_watch() {
    [ -n "$stall$reports" ] && [ "$rank" = 0 ] || return 0
    find_python
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
    head -c 65537 "$progress" >"$work/report" && daemon 'Content-Type: application/json' "$work/report"
}
reported() { # whether the daemon has had a report meanwhile; for one more time of stall, or does not answer
    [ -n "$reports" ] || return 1
    age=$(daemon 'Accept: text/plain') ||
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
        daemon 'If-Match: "kept"' >"$work/newer" ||
            daemon 'Content-Type: application/jsonl' "$work/curves" >"$work/newer"
    else daemon >"$work/newer"; fi && [ -s "$work/newer" ] && mv "$work/newer" "$work/curves"
    [ ! -s "$work/curves" ] || cat "$work/curves" >"$artifact/logs/progress-$attempt.jsonl"
    return 0
} 2>/dev/null
