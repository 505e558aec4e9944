"""The command `rmsweep`, as `python -m rmsweep`."""

from rmsweep.cli.main import main

if __name__ == "__main__":  # the processes of a launch import this module, too
    main()
