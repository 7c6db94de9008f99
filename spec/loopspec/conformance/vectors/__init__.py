"""Test vectors: what the specification demands, for those who run no Python.

Two sorts. A *kernel vector* is a sequence of system calls with every result that the model allows of each;
whoever re-implements epoll plays the calls and compares. A *loop vector* is a schedule with the trace that a
loop which keeps all clauses tells of it, and with alterations of that trace that break a clause; whoever
re-implements the loop plays the schedule, and whoever re-implements the judge judges the traces. Format and
runners are described in the ``README.md`` that is written beside them.

The bytes depend on this version of loopspec and on nothing else: not on the machine, the interpreter, or the
seed of its hashes. That is why kernel vectors come from the model and ask no kernel, and why schedules are
kept as tokens instead of being drawn anew."""
