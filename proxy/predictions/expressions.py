"""JMESPath, for what a JSON pointer cannot say: `results[?best].score`, `sort_by(items, &rank)[*].id`.

The package is imported only where an expression is configured. An expression is its owner's, so it may cost what it
costs; it is compiled once. Source: jmespath.org, "JMESPath Specification".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any


class ExpressionError(ValueError):
    """An expression that cannot be applied to a document; the text says why."""


@lru_cache(maxsize=64)
def _compiled(expression: str) -> Any:
    import jmespath

    return jmespath.compile(expression)


def expression_problem(expression: str) -> str:
    """What is wrong with an expression, in a line; empty when nothing is.

    >>> expression_problem("results[*].score"), expression_problem("results[")[:12]
    ('', 'Invalid jmes')
    """
    from jmespath.exceptions import JMESPathError

    try:
        _compiled(expression)
    except JMESPathError as error:
        return str(error).partition("\n")[0]
    return ""


def search(expression: str, document: Any) -> Any:
    """What an expression finds in a document, `None` for nothing; raises `ExpressionError`.

    >>> search("results[?best].score", {"results": [{"score": 0.5}, {"score": 0.9, "best": True}]})
    [0.9]
    """
    from jmespath.exceptions import JMESPathError

    try:
        return _compiled(expression).search(document)
    except (JMESPathError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ExpressionError(str(error).partition("\n")[0]) from None
