#!/bin/sh
# The examples, end to end on this machine: a bare repository to push to, a clone to work in,
# and the daemon between that repository and the local engine.
set -eu

if [ -e try ]; then
    echo "try/ is there already: what is there is kept, and finished work is not run again."
    echo "To begin anew, remove it: rm -rf try"
    cd try
    reconciler run --once
    exit
fi
mkdir try
echo "Making a Git repository from examples-repo/ ..."
reconciler init try/manifests >/dev/null
git clone --quiet --bare try/manifests try/manifests.git
git -C try/manifests remote add origin ../manifests.git
git -C try/manifests fetch --quiet origin
git -C try/manifests branch --quiet --set-upstream-to origin/main main

cat > try/reconciler.yaml <<'YAML'
repository: {url: ./manifests.git}
YAML

echo "Running everything that its manifests ask for; the first time, packages are installed ..."
cd try
start=$(date +%s)
reconciler run --once
git -C manifests fetch --quiet origin       # the status, for plans
echo "Done in $(($(date +%s) - start)) s. Nothing runs twice: another make try finds it all there."

cat <<'EOF'

What to try next:

  cd try && . ../.venv/bin/activate
  reconciler run                              # the daemon; leave it running, use a second terminal
  reconciler status --watch                   # what it is doing

  $EDITOR manifests/models/finetune.yaml      # change a param
  reconciler plan --repo manifests            # what that would run
  git -C manifests commit -am "Try another learning rate" && git -C manifests push
  git -C manifests revert --no-edit HEAD && git -C manifests push     # its artifact is still there

  git -C manifests.git log reconciler/status/local                    # the status commits
  git -C manifests.git show reconciler/status/local:README.md         # as a forge shows it
  reconciler status --history                                         # every artifact there is
EOF
