"""The command line interface, `realness`."""


def main():
    """Run the command line interface; the entry point of the `realness` script."""
    from realness.cli.app import main as run

    run()
