"""Language models in roles: paraphraser, generator, relabeller, judge, teacher, reader.

One interface, :class:`LLM`, three tiers: :func:`oracle` speaks the grammar of the data sets and has knobs
for its faults; :func:`local` is any causal model of ``transformers`` (:func:`tiny` is the one that labkit
ships); :func:`endpoint` is any service with the OpenAI protocol. A method takes ``llm`` as an argument and
never knows the tier. What is asked for is written by ``labkit.llm.prompts``.

.. autoclass:: labkit.llm.service.Endpoint
   :members:
.. autoclass:: labkit.llm.usage.Failure
"""

from importlib import import_module

from labkit.llm import prompts
from labkit.llm.completion import LLM, Completion, texts
from labkit.llm.usage import EndpointError, Usage

__all__ = ["LLM", "Completion", "EndpointError", "Usage", "endpoint", "local", "oracle"]
__all__ += ["prompts", "texts", "tiny"]

_LAZY = {"endpoint": "service", "local": "models", "oracle": "grammar", "tiny": "models"}


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"labkit.llm has no {name!r}; it has {', '.join(__all__)}")
    found = getattr(import_module(f"labkit.llm.{_LAZY[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
