"""What things of biam-pipe look like: settings, tables, receipts, statuses, errors. No I/O; imports nothing of ours."""
