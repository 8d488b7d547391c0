"""What befalls a client: the servers are well, and values get lost or doubled."""
