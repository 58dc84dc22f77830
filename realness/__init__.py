"""Predict how real an image looks, and map where it stops looking real."""

__version__ = "0.1.0"

from realness._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        # data
        'RealnessError': 'config',
        'check_split': 'data',
        'demo_data': 'demo',
        'fetch_raise': 'fetch',
        'load_split': 'data',
        'write_split': 'data',
        # score
        'COREModel': 'regression.regression_model',
        'Predictor': 'regression.predict',
        'RunConfig': 'regression.run_config',
        'evaluate': 'regression.evaluate',
        'load': 'regression.predict',
        'train_run': 'regression.runs',
        # map
        'Heatmap': 'localization.heatmap',
        'heatmap': 'localization.heatmap',
    },
)
