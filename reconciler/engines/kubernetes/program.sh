#!/bin/sh
# shellcheck disable=SC2154  # sourced by wrapper.sh, which defines these
# The program of a command, and why it cannot be started: a part of wrapper.sh.
# engines/local/program.py looks for the same causes in the same order, and names them alike.

on_path() { # NAME: the program that it means on the image's PATH, in `found`
    rest=$user_path:
    while [ -n "$rest" ]; do
        found=${rest%%:*}/$1 rest=${rest#*:}
        [ -f "$found" ] && [ -x "$found" ] && return
    done
    return 1
}
refuse() { leave 127 command "$1" "$2"; }
find_program() { # NAME: what it means, in the working directory and then on the image's PATH
    if [ -f "./$1" ] || case $1 in */*) [ -f "$1" ] ;; *) false ;; esac; then
        case $1 in /*) program=$1 ;; *) program=$PWD/$1 ;; esac
    elif case $1 in */*) false ;; *) on_path "$1" ;; esac then program=$found
    else refuse CommandNotFound "\"$1\" is neither a file in the working directory nor a program on PATH"; fi
    mode=$(stat -L -c %a "$program")
    [ $((0$mode & 0111)) != 0 ] || refuse CommandNotExecutable \
        "$1 has no execute permission (chmod +x)"
    noexec=$(place=$(realpath "$program") awk '
        $2 == "/" || index(ENVIRON["place"], $2 "/") == 1 {
            if (length($2) >= longest) { longest = length($2); at = ("," $4 ",") ~ /,noexec,/ ? $2 : "" }
        }
        END { print at }' /proc/mounts)
    [ -z "$noexec" ] || refuse NoexecMount \
        "$1 is on $noexec, which is mounted noexec: no file there can be executed"
    [ -x "$program" ] || refuse CommandNotPermitted "the user $(awk '/^Uid:/ { print $3 }' /proc/self/status) \
may not execute $1, whose mode is $mode"
    [ ! -r "$program" ] || check_head "$1"
}
first_line() { head -c 4096 "$1" | head -n 1 | tr -d '\000'; } # FILE
check_head() { # NAME: that the kernel can execute what $program begins with
    line=$(first_line "$program")
    case $line in
    "$(printf '\177')ELF"*)
        loader=$(head -c 4096 "$program" | tr '\000' '\n' | grep -m 1 '^/[!-~]*/ld[^/]*[.]so[.0-9]*$')
        [ -z "$loader" ] || [ -e "$loader" ] || refuse LoaderMissing \
            "$1 is made for another system: it needs $loader, which is not there"
        ;;
    "$(printf '\357\273\277')#!"*) refuse ByteOrderMark "$1 begins with a byte order mark, so that its \
first line #! does not count: save it as UTF-8 without one" ;;
    '#!'*"$cr") refuse WindowsLineEnds "the first line of $1 ends in a carriage return, as Windows \
ends lines: save it with Unix line ends, and keep them by \"$1 text eol=lf\" in .gitattributes" ;;
    '#!'*)
        set -f
        # shellcheck disable=SC2086  # words
        check_interpreter "$1" ${line#??}
        set +f
        ;;
    *) refuse InterpreterLineMissing \
        "$1 is no program, and has no first line such as #!/bin/sh or #!/usr/bin/env python3" ;;
    esac
}
check_interpreter() { # NAME INTERPRETER [WORD ...]
    of=$1 interpreter=${2:-} there=''
    [ -z "$interpreter" ] || [ ! -f "$interpreter" ] || there=yes
    if [ -n "$there" ] && [ "${interpreter##*/}" = env ]; then
        shift 2
        if [ "${1:-}" = -S ]; then # split by env; otherwise all of it is one name
            shift
            while case ${1:-} in *=*) true ;; *) false ;; esac do shift; done
            set -- "${1:-}"
        fi
        interpreter=$*
        case $interpreter in '' | -* | */*) ;; *) on_path "$interpreter" || there='' ;; esac
    fi
    [ -n "$there" ] || refuse InterpreterMissing \
        "the first line of $of names \"$interpreter\", which is not there"
}
