"""Describe and judge images, by a vision-language model or without one."""

from realness._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'QUESTIONS': 'questions',
        'DESCRIBERS': 'options',
        'DescribeOptions': 'options',
        'Described': 'result',
        'Describer': 'describer',
        'DescriberConfig': 'options',
        'Endpoint': 'endpoints',
        'Fallback': 'fallback',
        'LocalModel': 'local_model',
        'Question': 'describer',
        'ReplayServer': 'replay',
        'Reply': 'describer',
        'describe': 'run',
        'make_describer': 'options',
        'plan': 'estimate',
    },
)
