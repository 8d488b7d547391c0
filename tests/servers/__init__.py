"""Servers are had in three ways, and leave nothing behind."""
