"""The HTTP skin: routes, guards and the page. The only room that imports FastAPI."""
