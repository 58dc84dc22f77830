"""How real does an image look, and where does it stop looking real."""

__version__ = "0.1.0"

from realness._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'COREModel': 'regression.regression_model',
        'Predictor': 'regression.predict',
        'RealnessError': 'config',
        'RunConfig': 'regression.run_config',
        'demo_data': 'demo',
        'evaluate': 'regression.evaluate',
        'load': 'regression.predict',
        'train_run': 'regression.runs',
    },
)
