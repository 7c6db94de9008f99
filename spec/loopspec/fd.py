"""FD: numbers and the open file descriptions that they name.

The rules are rules of the kernel model and live where the model needs them. This module is the area's place
in the register.
"""

from loopspec.kernel import fd, pipe, stream

RULES = (fd, stream, pipe)
"""The modules with rules of FD, and those of STREAM that bind the kernel."""
