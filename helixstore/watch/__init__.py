"""`helixstore watch`: events are hints, scans are truth, and a scan is always scheduled."""
