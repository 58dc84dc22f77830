"How real does a picture look, and where does it stop looking real."
__version__ = "0.1.0"

_lazy = dict(load='regression.predict', Predictor='regression.predict', COREModel='regression.regression_model', evaluate='regression.evaluate',
             RunConfig='regression.runs', train_run='regression.runs', RealnessError='config', demo_data='demo')
__all__ = list(_lazy)


def __getattr__(name):
    "The public names, imported when first used, so that `import realness` loads no model library."
    if name not in _lazy: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module
    return getattr(import_module(f'.{_lazy[name]}', __name__), name)


def __dir__(): return sorted([*globals(), *__all__])
