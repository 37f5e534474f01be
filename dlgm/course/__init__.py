"""What only the notebooks and their makers call."""
