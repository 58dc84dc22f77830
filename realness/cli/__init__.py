"""The command line interface, `realness`."""

from realness._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {'app': 'application', 'command': 'commands'})


def main():
    """Run the command line interface; the entry point of the `realness` script."""
    from realness.cli.application import main as run

    run()
