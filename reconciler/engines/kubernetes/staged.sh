#!/bin/sh
# shellcheck disable=SC2154,SC2034,SC2015,SC2013,SC3045  # sourced by wrapper.sh, which defines and uses these
# The part of wrapper.sh for buckets that are no file system: the command writes local disk.
#
# Files go to the bucket by plain sequential writes: no append, no rename, no second write to an
# open file. The mount must allow a name to be written again and removed (Mountpoint for S3:
# allow-overwrite, allow-delete). Every copy ends in a list of what is whole in the bucket, under a
# name of its own; a later attempt restores what the last list names and nothing else. What a list
# names is never overwritten while that list is the last one, so a copy that is cut short at any
# point leaves the one before it as it was.

paths() { sed 's,^.*/\./,,'; } # of lines ANYTHING/./PATH
folders() { sed -n 's,/[^/]*$,,p' | uniq; }
copy_files() { # FROM TO: copy the sorted lines read, by plain sequential writes; say those copied
    status=0 last='' many=0
    cat >"$work/batch"
    mkdir -p "$2" && folders <"$work/batch" | (cd "$2" && sed 's,^,./,' | each mkdir -p) || return
    set -- "$1" "$2"
    while IFS= read -r path; do
        folder=/${path%"${path##*/}"}
        if [ "$folder" != "$last" ] || [ "$many" = 200 ]; then
            copy_batch "$@"
            set -- "$1" "$2"
        fi
        set -- "$@" "$1/$path"
        last=$folder many=$((many + 1))
    done <"$work/batch"
    copy_batch "$@"
    return "$status"
}
copy_batch() { # FROM TO FILE...: files of one folder
    batch=$1 to=$2$last many=0
    shift 2
    [ $# -gt 0 ] || return 0
    cp -L "$@" "$to" &
    cp=$!
    echo "$cp $#" >"$work/copier"
    if [ -n "$summing" ]; then # beside the copy, so that the bytes come from the disk once
        sha256sum "$@" >"$work/sums" 2>/dev/null &
        sum=$!
        reap $sum
        [ "$reaped" = 0 ] || : >"$work/sums"
    fi
    reap $cp
    echo $# >>"$work/copied-files"
    [ "$reaped" = 0 ] || { status=1 && return; }
    for file; do printf '%s\n' "${file#"$batch"/}"; done >"$work/names"
    cat "$work/names"
    [ -z "$summing" ] || digests <"$work/names" >>"$work/summed"
}
digests() { # of sorted paths: "SHA256/./PATH", from the lines of $work/sums in their order
    while IFS= read -r of && read -r sum _ <&7; do
        printf '%s/./%s\n' "${sum#\\}" "$of"
    done 7<"$work/sums"
}
stamps() ( # "SIZE.MTIME.CTIME.INODE/./PATH" of the stage as it is; what cannot be read is left out
    cd "$model" || return
    {
        in_artifact -type f -print
        in_artifact -type l -print | while IFS= read -r link; do [ ! -f "$link" ] || echo "$link"; done
    } | each stat -L -c '%s.%Y.%Z.%i/%n' 2>/dev/null | sort -t/ -k2
    :
)
calm() { # "STAMP/./PATH" of what has settled between two looks at the stage
    # Times are compared by the second, so what changed in the last one may change unnoticed.
    # Settled is a file that did not change, in a folder where none changed and none is open for
    # writing: a checkpoint of several files is taken whole. At the top and for what has not
    # changed since the last copy, the file alone counts, or a log beside it would starve it.
    mv "$work/now" "$work/was"
    sleep "${RECONCILER_SETTLE:-5}"
    stamps >"$work/now" || return
    for fds in /proc/[0-9]*/fd; do ls -l "$fds"; done 2>/dev/null |
        root=$(cd "$model" && pwd -P) awk '
            substr($0, 3, 1) == "w" && (at = index($0, " -> " ENVIRON["root"] "/")) {
                print substr($0, at + 5 + length(ENVIRON["root"]))
            }' >"$work/open"
    touch "$work/last"
    awk -F/ -v started="$started" '
        function folder(p) { return match(p, /.*\//) ? substr(p, 1, RLENGTH - 1) : "" }
        { path = substr($0, index($0, "/./") + 3) }
        what == "open" { open[$0]; moved[folder($0)]; next }
        what == "was" { was[$0]; next }
        what == "last" { last[$0]; next }
        what == "now" { if (!($0 in was)) moved[folder(path)]; next }
        { split($1, time, "."); if (time[2] >= started - 1 || time[3] >= started - 1) next }
        ($0 in last) || ($0 in was) && !(path in open) && (folder(path) == "" || !(folder(path) in moved))
    ' what=open "$work/open" what=was "$work/was" what=last "$work/last" what=now "$work/now" \
        what=calm "$work/now" >"$work/ready"
    cp "$work/now" "$work/last"
}
pause() { # SYNC TOOK: until the next copy, so that one is there before SYNC after the last look
    # A copy may take twice as long as the one before it, and no more than half of the time.
    awk -v sync="$1" -v took="$2" 'BEGIN {
        rest = sync - 3 * took
        print (rest > took ? rest : took < sync ? took : sync)
    }'
}
start_copying() {
    mkfifo "$work/order"
    exec 8<>"$work/order"
    sync=${RECONCILER_SYNC:-600}
    rest=$(pause "$sync" "${RECONCILER_SETTLE:-5}")
    while
        read -r -t "$rest" _ <&8 || :
        [ ! -e "$work/stop" ] # a read that times out may have eaten a part of the word
    do
        looked=$(($(clock) - 200)) # what changed in the two seconds before is left to the next copy
        copy_out calm || say "not all could be copied to the bucket; the next copy tries again"
        rest=$(pause "$sync" "$(hundredths $(($(clock) - looked)))")
    done &
    copier=$!
}
stop_copying() { # a copy under way is finished: it is needed anyhow
    : >"$work/stop"
    echo stop >&8
    start_progress copying
    reap "$copier"
    stop_progress
    exec 8>&-
}
count_copies() { # of the copies that follow: their sizes, a line each, in their order
    cat >"$work/sizes"
    : >"$work/copied-files"
    : >"$work/shown"
    echo 0 0 >"$work/copier"
}
start_progress() { # WORD: say now and then how far the copies are
    # To the container's log alone, whose last line is what the daemon reads (copies.py).
    while sleep "${RECONCILER_PROGRESS:-5}"; do show_progress "$1"; done 2>/dev/null 9>&- 8>&- &
    progress=$!
}
stop_progress() {
    kill -KILL "$progress" # a SIGTERM is lost on a shell that still has our trap, as it was just forked
    reap "$progress"
} 2>/dev/null # where the shell says "Killed"
show_progress() { # WORD
    read -r cp files <"$work/copier"
    # The bytes that the running copy of several files has read, which it does in their order.
    read_now=$(sed -n 's/^rchar: //p' "/proc/$cp/io")
    line=$(awk -v now="${read_now:-0}" -v files="$files" -v word="$1" '
        what == "copied" { done += $1; next }
        { size[++all] = $1; total += $1 }
        END {
            for (i = 1; i <= done; i++) bytes += size[i]
            for (; i <= all && files-- > 0 && now > 0; i++) {
                bytes += now < size[i] ? now : size[i]
                if ((now -= size[i]) >= 0) done++
            }
            if (all) printf "[reconciler] %s %d of %d files, %d %%", word, done, all, total ? 100 * bytes / total : 100
        }' what=copied "$work/copied-files" what=sizes "$work/sizes")
    [ -n "$line" ] && [ "$line" != "$(cat "$work/shown")" ] || return 0
    printf '%s\n' "$line"
    printf '%s\n' "$line" >"$work/shown"
}
copy_log() { # also of a command that has removed it from where it writes
    cp -L /proc/self/fd/6 "$artifact/logs/${log##*/}"
}
save() { # at the end, successful or not
    (cd "$model" && in_artifact -type l -print) | while IFS= read -r link; do
        [ ! -d "$model/$link" ] ||
            say "the symbolic link \"${link#./}\" leads to a folder; it is not kept, as no bucket has such links"
    done
    if [ "$rank" = 0 ]; then copy_out all; else copy_log && barrier; fi
}
copy_out() { # calm | all: copy what has changed to the bucket, then the list of what is whole there
    # $work/index has "STAMP/WHERE/./PATH" of what the bucket's list names. What it names is never
    # overwritten: changed files go aside, and the list that points to them is what makes them count.
    started=$(date +%s)
    stamps >"$work/now" || return
    if [ "$1" = calm ]; then calm || return
    else
        # A command that was killed was perhaps killed while it wrote: the last second is left out.
        before=9999999999
        [ "$code" -le 128 ] || before=$((ended_at - 1))
        awk -v before=$before '{ split($0, time, "[./]") }
            time[2] < before && time[3] < before' "$work/now" >"$work/ready"
    fi
    seq=$(($(cat "$work/seq") + 1))
    echo $seq >"$work/seq"
    aside=.reconciler-copy-$attempt-$seq
    : >"$work/fresh"
    : >"$work/aside"
    awk -F/ '
        { path = substr($0, index($0, "/./") + 3) }
        what == "index" { stamp[path] = $1; next }
        !(path in stamp) { print path >fresh; next }
        stamp[path] != $1 { print path >aside }
    ' fresh="$work/fresh" aside="$work/aside" what=index "$work/index" what=ready "$work/ready"
    awk '
        { path = substr($0, index($0, "/./") + 3) }
        what == "ready" { split($0, stamp, "."); size[path] = stamp[1]; next }
        { print size[$0] }
    ' what=ready "$work/ready" what=copied "$work/fresh" "$work/aside" | count_copies
    complete=0
    [ "$1" = calm ] || start_progress copying
    : >"$work/summed"
    [ ! -x "$home/bin/sha256sum" ] || summing=yes
    copy_files "$model" "$artifact" <"$work/fresh" >"$work/copied" || complete=1
    sed -i 's,^,-/./,' "$work/copied"
    if [ -s "$work/aside" ]; then
        copy_files "$model" "$artifact/$aside" <"$work/aside" >"$work/changed" || complete=1
        sed "s,^,$aside/./," "$work/changed" >>"$work/copied"
    fi
    summing=''
    [ "$1" = calm ] || stop_progress
    # A file that changed while it was copied is not whole there.
    stamps >"$work/after" || return
    awk -F/ '
        { path = substr($0, index($0, "/./") + 3) }
        what == "ready" { ready[$0]; next }
        what == "copied" { where[path] = $1; next }
        what == "index" { old[path] = $0; next }
        (path in where) && ($0 in ready) { print $1 "/" where[path] "/./" path; next }
        path in old { print old[path] }
    ' what=ready "$work/ready" what=copied "$work/copied" what=index "$work/index" \
        what=after "$work/after" >"$work/next"
    # $work/digests has "STAMP/SHA256/./PATH" of what is whole, as far as it was read here.
    awk -F/ '
        { path = substr($0, index($0, "/./") + 3) }
        what == "ready" { ready[path] = $1; next }
        what == "summed" { sum[path] = $1; next }
        what == "digests" { old[path] = $2; of[path] = $1; next }
        (path in sum) && ready[path] == $1 { print $1 "/" sum[path] "/./" path; next }
        of[path] == $1 { print $1 "/" old[path] "/./" path }
    ' what=ready "$work/ready" what=summed "$work/summed" what=digests "$work/digests" \
        what=next "$work/next" >"$work/known" && mv "$work/known" "$work/digests"
    looks=3
    [ "$1" = calm ] || looks=10 # the marker comes next
    copy_log && barrier $looks || return
    mv "$work/next" "$work/index"
    if ! cmp -s "$work/index" "$work/committed"; then
        {
            echo "list of $RECONCILER_KEY"
            awk -F/ '{ size = $1; sub(/[.].*/, "", size); print size substr($0, length($1) + 1) }' \
                "$work/index"
            echo "end of list"
        } >"$work/list"
        list=$(printf '.reconciler-list-%09d-%09d' "$attempt" "$seq")
        cp "$work/list" "$artifact/$list" && barrier || return
        cp "$work/index" "$work/committed"
        # Only now is nothing needed of what came before; what cannot be removed does no harm.
        for old in "$artifact"/.reconciler-list-* "$artifact"/.reconciler-copy-*; do
            [ "${old##*/}" = "$list" ] || grep -qF "/${old##*/}/./" "$work/index" || rm -rf "$old"
        done 2>/dev/null
    fi
    return "$complete"
}
restore() { # what the newest whole list of this key names, and nothing else
    : >"$work/index"
    : >"$work/committed"
    : >"$work/digests"
    echo 0 >"$work/seq"
    for list in "$artifact"/.reconciler-list-*; do
        [ "$(head -n 1 "$list")" = "list of $RECONCILER_KEY" ] || continue
        [ "$(tail -n 1 "$list")" = "end of list" ] && sed '1d;$d' "$list" >"$work/list"
    done 2>/dev/null
    [ -s "$work/list" ] || return 0
    # What is no longer there as listed, somebody has removed or replaced: it cannot be had.
    sed 's,^[0-9]*/,,; s,^-/,,' "$work/list" |
        (cd "$artifact" && each stat -c '%s/%n') >"$work/there" 2>/dev/null
    awk -F/ '
        what == "there" { there[$0]; next }
        { name = $0; sub("^[0-9]*/-/", $1 "/", name) }
        name in there { print substr($0, length($1) + 2); next }
        { print substr($0, index($0, "/./") + 3) >"/dev/stderr" }
    ' what=there "$work/there" what=list "$work/list" >"$work/ok" 2>"$work/gone"
    while IFS= read -r path; do
        say "$path is listed as an earlier attempt's, but is not in the bucket as it was left"
    done <"$work/gone"
    wheres=$(cut -d/ -f1 "$work/ok" | sort -u)
    for where in $wheres; do
        sed -n "\\,^$where/\./,p" "$work/ok"
    done | awk -F/ '
        what == "list" { size[substr($0, length($1) + 2)] = $1; next }
        { print size[$0] }
    ' what=list "$work/list" what=ok - | count_copies
    start_progress restoring
    for where in $wheres; do
        from=$artifact/$where
        [ "$where" != - ] || from=$artifact
        sed -n "\\,^$where/\\./,p" "$work/ok" | paths |
            copy_files "$from" "$stage" >"$work/copied" ||
            fail "what an earlier attempt left cannot be copied from the bucket"
    done
    stop_progress
    [ ! -s "$work/shown" ] || say "what an earlier attempt left is restored" # the line is not the last any more
    # A file changed within the second of its copy would look as if it had not changed since.
    now=$(date +%s)
    while [ -s "$work/ok" ] && [ "$(date +%s)" = "$now" ]; do usleep 50000; done
    usleep 50000 # the kernel's file times are a few milliseconds behind
    stamps >"$work/now"
    awk -F/ '
        { path = substr($0, index($0, "/./") + 3) }
        what == "ok" { where[path] = $1; next }
        path in where { print $1 "/" where[path] "/./" path }
    ' what=ok "$work/ok" what=now "$work/now" >"$work/index"
    cp "$work/index" "$work/committed"
}
barrier() { # [LOOKS]: rclone: nothing queued, in progress or failed. Other mounts have uploaded at close().
    # A file is queued a moment after close() has returned: one look that finds nothing says nothing.
    # The command's http_proxy is not the way to the pod's own loopback.
    [ -n "$rclone" ] || return 0
    # Under load that took up to 0.2 s.
    deadline=$(($(clock) + ${RECONCILER_BARRIER:-3600} * 100)) quiet=0 deaf=0 shown=0
    next=$(($(clock) + 100 * ${RECONCILER_PROGRESS:-5}))
    case $poll in 0 | 0.*) look=$poll ;; *) look=0.1 ;; esac
    rest=$look
    while [ $quiet -lt "${1:-3}" ]; do
        sleep "$rest"
        rest=$poll
        state=$(timeout 20 wget -Y off -q -O - --post-data '' "http://$rclone/vfs/stats" | tr ',{}' '\n' |
            awk -F: '
                /"uploads(Queued|InProgress)"/ { busy += $2; seen++ }
                /"erroredFiles"/ { failed += $2; seen++ }
                /"outOfSpace"/ && /true/ { failed++ }
                END { print seen < 3 ? "deaf" : failed ? "failed" : busy ? "busy " busy : "quiet" }')
        case $state in
        quiet) quiet=$((quiet + 1)) deaf=0 rest=$look ;;
        busy*)
            quiet=0 deaf=0 files=${state#* }
            [ "$phase" != after ] || [ "$(clock)" -lt "$next" ] || [ "$files" = "$shown" ] || {
                printf '[reconciler] uploading, %d files left\n' "$files"
                shown=$files next=$(($(clock) + 100 * ${RECONCILER_PROGRESS:-5}))
            }
            ;;
        failed) say "rclone reports files that it could not upload" && return 1 ;;
        *) quiet=0 deaf=$((deaf + 1)) ;;
        esac 2>/dev/null
        [ $deaf -lt 5 ] || { say "rclone does not answer at $rclone" && return 1; }
        [ "$(clock)" -lt "$deadline" ] || { say "rclone has not uploaded in time" && return 1; }
    done
}
place() { # the artifact as it will stay: every file in its place, and no other
    save || return
    sed '\,^[^/]*/-/,d' "$work/index" >"$work/misplaced"
    cut -d. -f1 "$work/misplaced" | count_copies
    start_progress copying
    paths <"$work/misplaced" | copy_files "$stage" "$artifact" >/dev/null || return
    stop_progress
    paths <"$work/files" >"$work/wanted"
    list_files "$artifact" >"$work/there" || return
    paths <"$work/there" | awk 'what == "wanted" { wanted[$0]; next } !($0 in wanted) { print "./" $0 }' \
        what=wanted "$work/wanted" what=there - >"$work/needless"
    (cd "$artifact" && each rm -f) <"$work/needless" || return
    if [ -s "$work/misplaced" ] || [ -s "$work/needless" ]; then
        barrier && list_files "$artifact" >"$work/there" || return
    fi
    cmp "$work/files" "$work/there" && add_digests
}
add_digests() { # to $work/files: "SIZE/SHA256/./PATH", in so far as there is a sha256sum
    [ -x "$home/bin/sha256sum" ] || return 0
    # What an earlier attempt left was restored, and not read since.
    awk -F/ '
        { path = substr($0, index($0, "/./") + 3) }
        what == "digests" { known[path]; next }
        !(path in known) { print path }
    ' what=digests "$work/digests" what=files "$work/files" >"$work/unread"
    (cd "$model" && sed 's,^,./,' "$work/unread" | each sha256sum) >"$work/sums" || return
    digests <"$work/unread" | sed 's,^,-/,' >>"$work/digests"
    awk -F/ '
        { path = substr($0, index($0, "/./") + 3) }
        what == "digests" { sum[path] = $2; next }
        { print $1 "/" sum[path] "/./" path }
    ' what=digests "$work/digests" what=files "$work/files" >"$work/known" &&
        mv "$work/known" "$work/files"
}
