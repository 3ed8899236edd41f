"""The one place that calls link, rename, ioctl and lease, and that finds out what a mount can do."""
