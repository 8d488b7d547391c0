"""What client libraries offer, asked on the newest servers: run, not read about."""
