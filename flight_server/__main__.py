"""``python -m flight_server`` is the command ``lakeflight``."""

from flight_server.cli import main

if __name__ == "__main__":
    main()
