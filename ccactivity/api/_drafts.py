"""The one trick that makes decoding fast: frozen values filled in as drafts. Pure.

cattrs generates code that assigns one attribute after the other to a draft, an instance of a subclass that can be
written to; at the end its class becomes the frozen one. The plain form that it has to agree with is `cls(**fields)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn_from_attrs, override

__all__ = ["Hook", "make_reader"]

Hook = Callable[[Any, Any], Any]


def make_reader(
    cls: type[attrs.AttrsInstance], hooks: Mapping[str, Hook | None], keys: Mapping[str, str]
) -> Callable[[dict[str, Any]], Any]:
    """Return what makes values of one class of JSON objects: the named attributes by hooks that never raise, or as they
    are (None), from the keys of their names or from others (`keys`); and the object itself.
    """
    named = attrs.fields_dict(cls)
    # Not of __init__, so they are assigned; without a default, so they are not looked for. cattrs leaves alone what has
    # a converter of its own.
    fields = [
        field.evolve(init=False, default=attrs.NOTHING, converter=str if hooks[name] is None else None)
        for name, field in named.items()
        if name in hooks
    ]
    overrides: Any = {name: override(struct_hook=hook, rename=keys.get(name)) for name, hook in hooks.items()}
    blank = dict.fromkeys(keys.get(field.name, field.name) for field in fields)
    fill: Callable[[Any, Any], Any] = make_dict_structure_fn_from_attrs(
        fields,
        _draft_of(cls),
        cattrs.Converter(detailed_validation=False, prefer_attrib_converters=True),
        _cattrs_detailed_validation=False,
        _cattrs_include_init_false=True,
        _cattrs_prefer_attrib_converters=True,
        **overrides,
    )

    def make(row: dict[str, Any]) -> Any:
        draft = fill({**blank, **row}, None)
        draft.__class__ = cls
        return draft

    def make_with_raw(row: dict[str, Any]) -> Any:
        draft = fill({**blank, **row}, None)
        draft.raw = row
        draft.__class__ = cls
        return draft

    return make_with_raw if "raw" in named else make


def _draft_of(cls: type) -> type:
    """A subclass that can be made empty and written to, and whose instances may become instances of the class."""
    usual = {name: getattr(object, name) for name in ("__init__", "__setattr__", "__delattr__")}
    return type(cls.__name__, (cls,), {"__slots__": (), **usual})
