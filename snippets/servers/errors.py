"""The one error that this package raises."""


class ServersError(Exception):
    """A server can't be had as asked: says what is wrong, and what to do about it."""
