"""What stands beside the paper: files, locks, processes, memory."""
