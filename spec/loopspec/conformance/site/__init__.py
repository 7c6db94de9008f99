"""The specification as a document: a small site, made of the register and of nothing that could disagree with
it.

Sentence, level, source and rule come from the clauses, tests and mutants from the evidence, diagrams from the
tables that are the life cycles, proofs from the list that the gate proves, and verdicts from
``docs/conformance.md``. What is written by hand are the few paragraphs that hold these together. mkdocs turns
the pages into HTML; a clause that is on no page and a reference that leads nowhere end the build.

``make docs`` builds it. It is made from a checkout, since proofs and conformance are not installed.
"""
