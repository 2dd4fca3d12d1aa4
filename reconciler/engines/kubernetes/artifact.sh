#!/bin/sh
# shellcheck disable=SC2154,SC2034,SC2015  # sourced by wrapper.sh, which defines and uses these
# The part of wrapper.sh about the artifact: its files, metrics and marker.

in_artifact() { # find's expression...: on what is not reserved in the working directory
    find . \( -path ./completed.json -o -path ./model.sig -o -path './.reconciler*' -o -path ./logs -type d \) -prune \
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
copy_links() ( # in place of links to files, which whoever reads the store otherwise sees as empty
    cd "$artifact" && in_artifact -type l -print >"$work/links" || return
    while IFS= read -r link; do
        [ -d "$link" ] || { cp -L "$link" .reconciler-link && mv -f .reconciler-link "$link"; } || return
    done <"$work/links"
)
lacks() { # ABILITY of buckets/interface.py
    case " ${RECONCILER_LACKS:-} " in *" $1 "*) ;; *) false ;; esac
}
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
verified() { # NAME: how it is compared with its marker; nothing: not beyond its key
    for word in ${RECONCILER_VERIFY:-}; do
        [ "${word%%=*}" != "$1" ] || echo "${word#*=}"
    done
}
compare() { # DIRECTORY KEY sizes|digests: its files with its marker; `found` is what read_found reads
    # Else `wrong` says in a few words what is.
    : >"$work/why"
    list_files "$1" >"$work/files" || {
        wrong=$(cat "$work/why")
        [ -n "$wrong" ] || unread="its files are not listed"
        return 1
    }
    found=$(awk -v mode=marker -v file="$1/completed.json" -v list="$work/files" -v key="$2" \
        -v sums="$work/sums" -f "$home/wrapper.awk") || {
        wrong="its files are not as in completed.json${found:+: $found}"
        return 1
    }
    [ "$3" = digests ] && [ -s "$work/sums" ] || return 0
    [ -x "$home/bin/sha256sum" ] || { say "there is no sha256sum: only sizes are compared" && return 0; }
    # In the background: a signal ends the wait for it.
    (cd "$1" && sha256sum -c "$work/sums" >"$work/compared" 2>&1) &
    reap $!
    [ "$reaped" != 0 ] || return 0
    wrong=$(grep -v ': OK$' "$work/compared" | head -n 1)
    wrong="the content of a file is not as in completed.json: ${wrong#./}"
    unread=$(grep "^sha256sum: can't " "$work/compared" | refusal)
    return 1
}
refusal() { # of lines of errors. What a store will not show is not lost: it would be made again
    grep -v -m 1 'No such file\|s a directory'
}
check_readable() { # DIRECTORY NAME
    unread=${unread:-$(cp "$1/completed.json" /dev/null 2>&1 | refusal)}
    [ -z "$unread" ] || fail "the $2 cannot be read: $unread"
}
find_marker() { # the artifact is complete: end at once
    how=$(verified artifact) unread=''
    check_readable "$artifact" artifact
    [ -f "$artifact/completed.json" ] || return 0
    compare "$artifact" "$RECONCILER_KEY" "${how:-sizes}" || { check_readable "$artifact" artifact && return; }
    read_found
    leave 0 "" "" "the artifact is complete; the command is not started"
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
    # An evaluation is KIND/NAME/evaluations/KEY.
    cd "$artifact" || return
    find . -mindepth 4 -maxdepth 5 -type f -name completed.json | sort >"$work/found"
    while IFS= read -r marker; do
        place=${marker%/completed.json} place=${place#./}
        case $place in *[!a-z0-9./-]*) continue ;; esac # no name of ours
        case $place in */*/evaluations/*) ;; */*/*/*) continue ;; esac
        list_files "$place" >"$work/files" 2>/dev/null || continue
        found=$(awk -v mode=marker -v file="$place/completed.json" -v list="$work/files" \
            -v key="${place##*/}" -f "$home/wrapper.awk") || continue
        read_found
        printf '%s %s [%s, [%s]]\n' "$place" "$total" "$metrics" "$warnings"
    done <"$work/found"
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
    if [ -n "$stage" ]; then place; else { ! lacks stored-symlink || copy_links; } && durable; fi || fail "the files of the artifact are not safe"
    write_marker "$work/files" || {
        code=0
        unsuccessful ArtifactIncomplete "the name of a file in the artifact is not UTF-8; rename it"
    }
    if [ -n "$stage" ] || lacks atomic-rename; then
        # A store has a whole object or none.
        cp "$work/marker" "$artifact/completed.json" && { [ -z "$stage" ] || barrier; } &&
            cmp "$work/marker" "$artifact/completed.json" || {
            rm -f "$artifact/completed.json" # what it says is perhaps not there
            false
        }
    else
        cp "$work/marker" "$artifact/.reconciler-completed" && sync "$artifact/.reconciler-completed" &&
            mv "$artifact/.reconciler-completed" "$artifact/completed.json" && sync "$artifact"
    fi || fail "the marker cannot be written"
    rm -rf "$artifact"/.reconciler-* 2>/dev/null || : # reserved names do no harm
}
