"""What is shown is run, paired, fresh and linked."""
