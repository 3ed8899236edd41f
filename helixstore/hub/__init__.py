"""What is fetched from where models are published."""
