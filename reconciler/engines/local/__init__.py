"""The local engine: runs are processes, buckets are directories, nothing else is needed.

Three kinds of process take part, and any of them may be killed at any instruction:

* The daemon (:mod:`.engine`) writes down what is to run and grants slots and GPUs. It never
  starts a command itself.
* A *supervisor* per run (:mod:`.supervise`), detached from the daemon, carries the run out:
  attempts, timeout, retries, output, completion marker, result. It is the only writer of the
  run's ``state.json`` and holds the lock of the run as long as it lives, so "is it alive" is
  "is the lock held", never a look at a process id that may have been given to another process.
* The command, child of the supervisor, with the lock of its *key* open (:mod:`.claim`): whoever
  takes that lock next first ends what is left of an attempt whose supervisor was lost.

Every step is decided by a file before it is done, and is safe to do again: a run exists once its
directory does, is started once it has a grant, and has ended once its state says so.

What is on disk (version 1, :mod:`.layout`)::

    version                 the version of this layout
    daemon.lock             held by the one daemon that uses this root
    notify                  a FIFO: supervisors write a byte when something has changed
    runs/<name>/            one run; made elsewhere and renamed into place
        spec.json           what was ordered (RunSpec)                  written by the daemon
        job.json            the same, as this machine will carry it out written by the daemon
        params.json         PARAMS_FILE of the command                  written by the daemon
        source/             of a build: the exported build context      written by the daemon
        grant.json          it may start, with these GPUs               written by the daemon
        cancel              it is to end and be forgotten               written by the daemon
        state.json          how far it has come                         written by the supervisor
        lock, control       held by the supervisor; a FIFO that wakes it
        logs/attempt-<n>.log   of a build; other tasks log into their artifact directory
        supervisor.log      what a supervisor had to say before it failed; normally empty
    images/<key>/tree/      a build's source tree, read-only
    images/<key>/image.json written last: the image is complete
    envs/<hash>/            a virtual environment, shared by all images with these requirements
    envs/<hash>.json        written last: the environment is complete
    locks/                  one lock per key and per environment
    scratch/, exports/, trash/   what may be thrown away
    buckets/                where buckets are unless the configuration names another place
"""
