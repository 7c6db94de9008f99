"""Six servers that answer the same lines, one architecture each: what concurrency costs, and what it buys.

They are meant to be read one after the other. :mod:`~refloop.servers.sequential` is the server that anybody
would write first, and a client who connects and says nothing stops it for everybody else.
:mod:`~refloop.servers.process` and :mod:`~refloop.servers.thread` run that same code once a client, and pay
with a process or a thread each. :mod:`~refloop.servers.event_loop` waits for all clients in one call of one
thread; its code is torn into callbacks, and one handler that blocks stops it for everybody again.
:mod:`~refloop.servers.reactor` therefore moves the handlers to workers and keeps the loop for multiplexing.
:mod:`~refloop.servers.coroutine` puts the code together again: it is the first server's, with ``await``.

Every module has one function for outsiders, ``serve(listener, services)``, which serves until it is
interrupted. ``python -m refloop.servers ARCHITECTURE --port N`` runs one.
"""
