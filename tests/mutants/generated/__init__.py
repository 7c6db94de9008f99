"""Generated mutants: every small change that an operator makes of the code, and whether the suite notices.

The named mutants say that the suite finds what somebody has thought of. These ask about the rest: refloop,
the model of the kernel, the judge and the rules, changed at every place in every way that the operators of
mutmut know, one change at a time. What survives is one of three: a test that is missing, code that nothing
needs, or a change that changes nothing. The first two are to be mended; what is left stands in
``survivors``, module by module, each with its reason, and the command fails when what survives is not what
is written there.

mutmut's own runner reaches functions and methods that nothing decorates, and cosmic-ray's starts the suite
anew for every mutant. Here nearly every rule is decorated, and there are thousands of mutants. So the
operators of the one (:mod:`mutmut.mutation.mutators`) are applied by :mod:`.changes`, and :mod:`.trial`
tries what they make: the suite is collected once, each mutant is a process forked from there in which the
functions that changed are given their new code, and the tests that run the changed line, the likeliest
first, run until one fails. What an import runs (constants, defaults, class bodies) cannot be changed
afterwards; such a mutant is imported in a process of its own, which collects its tests anew.
"""
