"""The one trick that makes decoding fast: frozen values filled in as drafts. Pure.

cattrs generates code that assigns one attribute after the other to a draft, an instance of a subclass that can be
written to; at the end its class becomes the frozen one. The plain form that it has to agree with is `cls(**fields)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn_from_attrs, override

__all__ = ["Hook", "make_reader"]

Hook = Callable[[Any, Any], Any]
T = TypeVar("T", bound=attrs.AttrsInstance)


def make_reader(
    cls: type[T], hooks: Mapping[str, Hook | None], keys: Mapping[str, str]
) -> Callable[[dict[str, Any]], T]:
    """Return what makes values of one class of JSON objects: the named attributes by hooks that never raise, or as they
    are (None), from the keys of their names or from others (`keys`); and the object itself as `raw`.
    """
    has_raw = "raw" in attrs.fields_dict(cls)
    # Not of __init__, so they are assigned; without a default, so they are not looked for. cattrs leaves alone what has
    # a converter of its own.
    fields = [
        field.evolve(init=False, default=attrs.NOTHING, converter=str if hooks[field.name] is None else None)
        for field in attrs.fields(cls)
        if field.name in hooks
    ]
    overrides: Any = {name: override(struct_hook=hook, rename=keys.get(name)) for name, hook in hooks.items()}
    blank = dict.fromkeys(keys.get(field.name, field.name) for field in fields)
    # A subclass that can be made empty and written to, and whose instances may become instances of the class.
    usual = {name: getattr(object, name) for name in ("__init__", "__setattr__", "__delattr__")}
    fill: Callable[[Any, Any], Any] = make_dict_structure_fn_from_attrs(
        fields,
        type(cls.__name__, (cls,), {"__slots__": (), **usual}),
        cattrs.Converter(detailed_validation=False, prefer_attrib_converters=True),
        _cattrs_detailed_validation=False,
        _cattrs_include_init_false=True,
        _cattrs_prefer_attrib_converters=True,
        **overrides,
    )

    def make(row: dict[str, Any]) -> Any:
        draft = fill({**blank, **row}, None)
        if has_raw:
            draft.raw = row
        draft.__class__ = cls
        return draft

    return make
