"""What a reader copies and runs: one task a module, once for each system."""
