"""`pyrun check`: what would go wrong, found without doing anything. Cold.

document (pyrun.spec.audit) → bundle → host: each looks at more than the one before.
"""
