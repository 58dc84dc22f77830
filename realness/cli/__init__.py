"""The command line interface, `realness`."""

from realness._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {'app': 'application', 'command': 'commands'})


def main():
    """Run the command line interface with all plugins; the entry point of the `realness` script."""
    import sys

    from realness.config import RealnessError
    from realness.plugins import load_plugins

    try:
        load_plugins()  # before the application, whose help lists what is registered
    except RealnessError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    from realness.cli.application import main as run

    run()
