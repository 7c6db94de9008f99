"""EPOLL: I/O multiplexing.

The rules are rules of the kernel model and live where the model needs them. This module is the area's place
in the register.
"""

from loopspec.kernel import epoll, errors, pipe, unix, wake

RULES = (epoll, errors, wake, pipe, unix)
"""The modules with rules of EPOLL: the wait, the errors, the wake-up, and the masks by type of object."""
