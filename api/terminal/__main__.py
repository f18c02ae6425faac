"""`python -m api.terminal`: the command line without an installed `lineup`."""

from api.terminal import app

if __name__ == "__main__":
    app(prog_name="lineup")
