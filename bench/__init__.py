"""Benchmarks: what refloop costs, beside asyncio, uvloop, trio, curio, and a bare epoll loop.

They are measurements and no tests: nothing passes or fails by them. ``make bench`` takes every figure and
writes ``docs/performance.md``; ``python -m bench NAME`` takes some and prints them.
"""
