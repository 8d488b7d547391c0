"""What the site promises, tested on real servers."""
