"""From defaults, dag, TOML file, environment and command line to one checked configuration; mistakes in words."""
