"""Config to Program: one module a concern, in the order in which a start meets them.

Nothing here asks the host anything: what must be known of it arrives as `Facts`, so a plan can be made, read and
tested anywhere.
"""
