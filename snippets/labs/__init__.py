"""Experiments: what real servers do under a fault, recorded so that anyone can repeat it.

A lab runs load against a server and notes all that happens in a history. A fault strikes
in the middle. Pure checkers compare the history with what is left, and the outcome is
recorded, with all that it depends on.
"""
