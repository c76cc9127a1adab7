"""What `biam-pipe check` looks at, one module a concern: each gives findings, and changes nothing."""
