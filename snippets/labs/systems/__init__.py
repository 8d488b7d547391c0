"""The systems under test: how each is run, loaded, brought back and read, in one form."""
