"""Which release offers what: probes, each run on every server that can be had.

A probe is one small function, the same for all servers. It uses a feature and looks at
what came of it; a server that takes the words and does nothing has not got the feature.
"""
