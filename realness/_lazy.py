"""Import the public names of a package when they are first used."""

from importlib import import_module


def lazy_names(package: str, modules: dict) -> tuple:
    """Return `(__getattr__, __dir__, __all__)` for a package whose public names live in its modules.

    `modules` maps each public name to the module, relative to `package`, that defines it. Importing the
    package then loads none of these modules (PEP 562).
    """

    def get_name(name):
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        return getattr(import_module(f'.{modules[name]}', package), name)

    def list_names():
        return sorted(modules)

    return get_name, list_names, sorted(modules)
