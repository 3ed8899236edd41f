"""What is this file? Pure readers that know a format by its content."""
