# Fetches one commit of a Git repository into $FOLDER/context, for a builder to build from.
# It exits with 210 and says why to the kubelet. What goes wrong is not the build's fault, but for a
# submodule by a protocol that is refused: that is so at every try.
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

export HOME=/tmp GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=https:http:ssh
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
# Not every server gives out a commit by its id: then everything is fetched.
git fetch --quiet --depth=1 origin "$SOURCE_COMMIT" 2>/tmp/first ||
  git fetch --quiet --tags origin '+refs/heads/*:refs/remotes/origin/*' 2>/tmp/second ||
  fail infrastructure SourceUnavailable \
    "the source $SOURCE_URL cannot be fetched: $(told /tmp/second)"
git -c advice.detachedHead=false checkout --quiet "$SOURCE_COMMIT" 2>/tmp/checkout ||
  fail infrastructure SourceUnavailable \
    "the source $SOURCE_URL has no commit $SOURCE_COMMIT: $(told /tmp/checkout)"
if [ "$SOURCE_SUBMODULES" = true ]; then
  git submodule --quiet update --init --recursive --depth=1 2>/tmp/modules || {
    text="the submodules of $SOURCE_URL cannot be fetched: $(told /tmp/modules)"
    ! grep -q "^fatal: transport '.*' not allowed" /tmp/modules ||
      fail command SourceInvalid "$text"
    fail infrastructure SourceUnavailable "$text"
  }
fi
find . -name .git -prune -exec rm -rf {} +
