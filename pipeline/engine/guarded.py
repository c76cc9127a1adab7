"""A module that is not ours, behind a guard: whatever its functions raise comes out as an error that names it."""

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from schemas.errors import PipelineError


class Guarded:
    """Has all that the module has; only its functions are other ones.

    Args:
        thing: the module, or an object in its place.
        refusal: makes the error of a text that says what is wrong.
    """

    def __init__(self, thing: Any, refusal: Callable[[str], PipelineError]) -> None:
        self._thing = thing
        self._refusal = refusal

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what pickle and copy ask for before there is a thing
            raise AttributeError(name)
        found = getattr(self._thing, name)
        return self._named(name, found) if inspect.isroutine(found) else found

    def _named(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def guarded(*arguments: Any, **named: Any) -> Any:
            try:
                result = function(*arguments, **named)
            except PipelineError:
                raise
            except Exception as error:  # whatever happens in a stranger's code
                raise self._error(name, error) from error
            return self._iterated(name, result) if inspect.isgenerator(result) else result

        return guarded

    def _iterated(self, name: str, items: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from items
        except PipelineError:
            raise
        except Exception as error:  # as above
            raise self._error(name, error) from error

    def _error(self, name: str, error: Exception) -> PipelineError:
        return self._refusal(f"{name} raises {type(error).__name__}: {error}")
