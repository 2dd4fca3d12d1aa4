"""Hours of use and misuse by chance, and what must hold whenever it is calm again.

``python -m tests.soak --engine local --minutes 60 --seed 7``. A soak is rounds of steps. Each step
does one thing to a real daemon, its Git remote, its disk, its clock or its cluster: a push, a
deletion, a kill, another configuration. What step ``n`` does is drawn from the seed and ``n``
alone, and printed, so that a seed names a soak (when a daemon is where in its work is left to the
machine). After the steps of a round all is given back, one more push asks for everything anew,
and what must hold is looked at:

- every Ready object's marker is there and true: its files, its key, its content;
- what is not Ready gives a reason that has a code, and is what the manifests ask for;
- no command ran for a key while that key was finished;
- each ``run --once`` has ended, with the exit code that is documented for what it left;
- no traceback is in a log, each file of the status branch can be read, no process is left;
- a new installation that is given the same commit makes the same keys.
"""
