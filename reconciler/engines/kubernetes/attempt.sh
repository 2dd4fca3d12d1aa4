#!/bin/sh
# shellcheck disable=SC2154,SC2034,SC2015  # sourced by wrapper.sh, which defines and uses these
# The part of wrapper.sh about the command: its log, its processes, and how it ended.

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
        dd bs=65536 count="$limit" iflag=count_bytes 2>"$work/writing" || mv "$work/writing" "$work/unlogged"
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
    start_watch
    reap "$pid"
    code=$reaped phase=after
    stop_watch
}
out_of_memory() { grep -qs '^oom_kill [1-9]' /sys/fs/cgroup/memory.events; }
windows_script() { # WORD...: the first file among a command's words that has Windows line ends
    for word; do
        [ -f "$word" ] || continue
        case $(first_line "$word") in *"$cr") echo "$word" && return ;; esac
    done
}
ended() { # COMMAND [ARGUMENT ...]: how, in words that engines/local/run_context.py has too
    [ "$cause" != Stalled ] ||
        { echo "$1 was ended, as it neither printed nor reported progress for $stall s" && return; }
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
is_there() { # DIRECTORY: whether its mount answers. A kernel may know the directory itself for a minute more.
    [ -e "$1/." ] || return 1
    case $(stat -f "$1" 2>&1 >/dev/null) in *'not connected'* | *abort*) return 1 ;; esac
}
full() { # no room was left: not the command's fault. A bucket may say 0 of 0.
    grep -qs 'No space left\|uota exceeded' "$work/unlogged" || stat -f -c '%b %a %S' "$model" |
        awk '{ exit !($1 > 0 && $2 * $3 < 1048576) }'
}
