"""Both systems do each task; what differs is named."""
