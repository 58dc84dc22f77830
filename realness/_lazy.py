"""Import the public names of a package when they are first used."""

from importlib import import_module
from importlib.util import find_spec

# module -> packages that only an extra installs, and the extra
EXTRAS = {
    'realness.explorer.app': (('ipywidgets', 'anywidget'), 'notebook'),
    'realness.integrations.torchmetrics': (('torchmetrics',), 'torchmetrics'),
}


def missing_package(module: str) -> str | None:
    """The first package that a module needs and that is not installed; None if it can be imported."""
    packages, _ = EXTRAS.get(module, ((), None))
    return next((package for package in packages if find_spec(package) is None), None)


def check_packages(name: str, module: str):
    """Raise `RealnessError` if a public name needs an extra that is not installed."""
    package = missing_package(module)
    if package is None:
        return
    from realness.config import RealnessError

    _, extra = EXTRAS[module]
    raise RealnessError(f'{name}: needs {package}; pip install "realness[{extra}]"')


def lazy_names(package: str, modules: dict) -> tuple:
    """Return `(__getattr__, __dir__, __all__)` for a package whose public names live in its modules.

    `modules` maps each public name to the module, relative to `package`, that defines it. Importing the
    package then loads none of these modules (PEP 562). `__all__` lacks the names whose extra is not
    installed.
    """

    def get_name(name):
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        module = f'{package}.{modules[name]}'
        check_packages(name, module)
        return getattr(import_module(module), name)

    def list_names():
        return sorted(modules)

    installed = [name for name in modules if missing_package(f'{package}.{modules[name]}') is None]
    return get_name, list_names, sorted(installed)
