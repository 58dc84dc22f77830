"""Run Python samples that pages show as text, because the pages are run without the libraries they use."""

import ast
import json
import re
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parent.parent / 'nbs'


def find_sample(page: str, word: str) -> str:
    """The only Python sample in the text of a page that contains a word."""
    cells = json.loads((NOTEBOOKS / page).read_text(encoding='utf-8'))['cells']
    texts = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown']
    samples = re.findall(r'^```python\n(.*?)^```', '\n'.join(texts), re.M | re.S)
    [sample] = [sample for sample in samples if word in sample]
    return sample


def run_sample(sample: str, names: dict) -> list:
    """Run a sample with names, which it may add to; returns the values of its expressions."""
    values = []
    for statement in ast.parse(sample).body:
        if isinstance(statement, ast.Expr):
            values.append(eval(compile(ast.Expression(statement.value), '<sample>', 'eval'), names))
        else:
            exec(compile(ast.Module([statement], []), '<sample>', 'exec'), names)
    return values
