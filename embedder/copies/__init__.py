"""What finds an edited version of a picture: local features, and how two pictures correspond."""
