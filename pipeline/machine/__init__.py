"""What this process runs on: devices, memory, signals, threads, environment. Knows nothing of ours but errors."""
