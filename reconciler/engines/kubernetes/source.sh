# Fetches one commit of a Git repository into $FOLDER/context, for a builder to build from.
# It exits with 210 and says why to the kubelet. What goes wrong is not the build's fault, but for a
# submodule that is refused: that is so at every try. A submodule, and the target of a redirect, is
# fetched if sources.allow admits its URL; $SOURCE_ALLOW has the globs, each a line of scheme, user,
# host, port and path. The manifests' own repository ($SOURCE_OWN) need not be in it.
set -eu
umask 022
fail() { # CLASS REASON MESSAGE
  echo "$3" >&2
  text=$(printf '%.600s' "$3" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')
  printf '{"v":1,"state":"failed","class":"%s","reason":"%s","message":"%s"}' \
    "$1" "$2" "$text" >/dev/termination-log
  exit 210
}
told() { # what git said in FILE, without its advice
  sed '/^$/d; /^fatal: Could not read from remote/d; /^Please make sure/d; /^and the repository/d' \
    "$1" | tail -n 2 | tr '\n' ' '
}

admits() { # URL: whether sources.allow does, by the rules of reconciler/patterns.py
  port='' user=''
  case $1 in
    *[!A-Za-z0-9._~/+@:-]*) return 1 ;;
    *://*) scheme=${1%%://*} rest=${1#*://} ;;
    *:*:* | *:-* | *:/*) return 1 ;;
    *:*) scheme=ssh rest=${1%%:*}/${1#*:} ;;
    *) return 1 ;;
  esac
  server=${rest%%/*}
  path=${rest#"$server"}
  path=${path%/}/
  case $server in
    *@*@* | @*) return 1 ;;
    *@*) user=${server%@*} server=${server#*@} ;;
  esac
  case $scheme:$user in
    https: | http:) ;;
    ssh:-* | ssh:*:*) return 1 ;;
    ssh:*) ;;
    *) return 1 ;;
  esac
  case $scheme in https) default=443 ;; http) default=80 ;; *) default=22 ;; esac
  case $server in
    *:*:* | *: | *:0* | *:*[!0-9]*) return 1 ;;
    *:*) port=${server#*:} server=${server%:*} ;;
  esac
  [ "$port" != "$default" ] || port=''
  host=$(printf %s "$server" | tr A-Z a-z)
  case $host in '' | -* | .* | *[!a-z0-9.-]*) return 1 ;; esac
  case $path in *//* | */./* | */../*) return 1 ;; esac
  path=${path#/}
  path=${path%/}
  while read -r s u h p f; do
    [ "$scheme" != http ] || [ "$s" = http ] || continue
    # Patterns, so they are not quoted.
    case $scheme in $s) ;; *) continue ;; esac
    case $user in $u) ;; *) continue ;; esac
    case $host in $h) ;; *) continue ;; esac
    case $path in $f) ;; *) continue ;; esac
    case $p:$port:$h in
      -::* | -:*:*\*) return 0 ;;
      -:*) continue ;;
    esac
    case ${port:-$default} in $p) return 0 ;; esac
  done <<END
${SOURCE_ALLOW:-}
END
  return 1
}
moved() { # URL: the target of a redirect that stays on its host, as the daemon follows it
  case $1 in http://* | https://*) ;; *) return 0 ;; esac
  rest=${1#*://}
  site=${1%%://*}://${rest%%/*}
  rm -f /tmp/trace
  GIT_TRACE_CURL=/tmp/trace GIT_TRACE_CURL_NO_DATA=1 \
    git ls-remote --quiet -- "$1" HEAD >/dev/null 2>&1 || true
  target=$(sed -n 's/.*<= Recv header: [Ll]ocation: \([^ ]*\).*/\1/p' /tmp/trace | tail -n 1 |
    tr -d '\r')
  case $target in //*) return 0 ;; /*) target=$site$target ;; esac
  case $target in "$site"/*/info/refs*) echo "${target%%/info/refs*}" ;; esac
}
refused() { # URL
  fail command SourceInvalid "the submodule ${1##*@} is not in sources.allow"
}

export HOME=/tmp GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=https:http:ssh
# A URL that is allowed must not lead to one that is not.
git config --global http.followRedirects false
if [ -f /ca/ca.crt ]; then
  for bundle in /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem; do
    if [ -f "$bundle" ]; then
      cat "$bundle" >"$FOLDER/ca.crt"
      break
    fi
  done
  cat /ca/ca.crt >>"$FOLDER/ca.crt"
  export GIT_SSL_CAINFO="$FOLDER/ca.crt"
fi
if [ -f /git-credentials/password ]; then
  git config --global "credential.$SOURCE_HOST.helper" '!f() {
    if [ -f /git-credentials/username ]; then
      echo "username=$(cat /git-credentials/username)"
    else
      echo username=x-access-token
    fi
    echo "password=$(cat /git-credentials/password)"
  }; f'
fi
if [ -f /git-credentials/ssh-privatekey ]; then
  # ssh takes no key that others may read, and a mounted Secret is not ours to change.
  (umask 077 && cat /git-credentials/ssh-privatekey >/tmp/key && echo >>/tmp/key)
  GIT_SSH_COMMAND="ssh -i /tmp/key -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes"
  export GIT_SSH_COMMAND="$GIT_SSH_COMMAND -o UserKnownHostsFile=/git-credentials/known_hosts"
fi

# A folder of our own: git trusts no repository whose folder is another user's.
context="$FOLDER/context"
rm -rf "$context"
git init --quiet "$context"
cd "$context"
git remote add origin "$SOURCE_URL"
get() { # Not every server gives out a commit by its id: then everything is fetched.
  git fetch --quiet --depth=1 origin "$SOURCE_COMMIT" 2>/tmp/first ||
    git fetch --quiet --tags origin '+refs/heads/*:refs/remotes/origin/*' 2>/tmp/second
}
get || {
  target=$(moved "$SOURCE_URL")
  [ -z "$target" ] || [ "$SOURCE_OWN" = true ] || admits "$target" ||
    fail infrastructure SourceUnavailable \
      "the source $SOURCE_URL redirects to $target, which is not in sources.allow"
  [ -n "$target" ] && git remote set-url origin "$target" && get
} || fail infrastructure SourceUnavailable \
  "the source $SOURCE_URL cannot be fetched: $(told /tmp/second)"
git -c advice.detachedHead=false checkout --quiet "$SOURCE_COMMIT" 2>/tmp/checkout ||
  fail infrastructure SourceUnavailable \
    "the source $SOURCE_URL has no commit $SOURCE_COMMIT: $(told /tmp/checkout)"

count=0
bound() { # the bounds are the daemon's own
  fail command SourceInvalid "more than 200 submodules, or nested deeper than 5"
}
unfetched() {
  fail infrastructure SourceUnavailable \
    "the submodules of $SOURCE_URL cannot be fetched: $(told /tmp/modules)"
}
submodules() { # DEPTH: checks and fetches those of the repository in this folder, and theirs
  [ -f .gitmodules ] || return 0
  git submodule --quiet init 2>/tmp/modules || unfetched
  git config --get-regexp '^submodule\..*\.url$' >/tmp/urls || return 0
  [ "$1" -le 5 ] || bound
  while IFS= read -r line; do
    url=${line##* }
    # Of a URL with blanks or line breaks the last word alone is not what git would fetch.
    [ "$(git config --get "${line% *}")" = "$url" ] || refused "$url"
    admits "$url" || refused "$url"
    count=$((count + 1))
    [ "$count" -le 200 ] || bound
  done </tmp/urls
  git submodule --quiet update --depth=1 2>/tmp/modules || {
    grep -q 'returned error: 30' /tmp/modules || unfetched
    while IFS= read -r line; do
      target=$(moved "${line##* }")
      [ -z "$target" ] || {
        admits "$target" || refused "$target"
        git config "${line% *}" "$target"
      }
    done </tmp/urls
    git submodule --quiet update --depth=1 2>/tmp/modules || unfetched
  }
  git submodule --quiet foreach 'printf "%s\n" "$PWD"' >"/tmp/folders$1"
  while IFS= read -r folder <&3; do
    cd "$folder" || unfetched
    submodules $(($1 + 1))
  done 3<"/tmp/folders$1"
}
if [ "$SOURCE_SUBMODULES" = true ]; then
  submodules 1
  cd "$context"
fi
find . -name .git -prune -exec rm -rf {} +
