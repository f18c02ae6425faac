"""The application: a room for each feature under two skins, `http` and `terminal`."""
