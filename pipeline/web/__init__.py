"""Image bytes over http: one address in, a status and the bytes out. Knows neither tables nor image formats."""
