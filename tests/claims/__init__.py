"""Sentences of the site, and their proofs."""
