"""The adapters that come with loopspec, one module a loop. Only these import what they adapt."""
