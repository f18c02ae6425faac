"""The HTTP server: routes, guards and the page. No other room imports FastAPI."""
