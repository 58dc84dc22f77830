"""Use realness in other libraries."""

from realness._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'Findings': 'annotation',
        'ImageBlocks': 'sklearn',
        'KernelRegressor': 'sklearn',
        'RealnessScore': 'torchmetrics',
        'TextBlocks': 'sklearn',
        'create_metric': 'pyiqa',
        'read_fiftyone': 'annotation',
        'read_label_studio': 'annotation',
    },
)
