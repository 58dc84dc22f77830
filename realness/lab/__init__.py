"""Compare predictors under one evaluation protocol."""

from realness._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'LabConfig': 'lab_config',
        'LabReport': 'report',
        'Protocol': 'protocol',
        'lab': 'run',
        'paired': 'report',
    },
)
