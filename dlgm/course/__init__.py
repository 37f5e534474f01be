"""What only the notebooks and their makers call: widgets, notation, the check of the machine, homework's tools."""
