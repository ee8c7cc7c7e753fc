"""Jobs to submit, as frozen values: imports, exports, deletes, taggings and changes of lists.

Each is checked when it is made, can be pickled, and shows no contact when it is printed.
"""

from __future__ import annotations

from .bulk import (
    AddTags,
    AddToLists,
    DeleteContacts,
    DeleteCustomFields,
    DeleteLists,
    DeleteTags,
    ExportContacts,
    RemoveFromLists,
    RemoveTags,
    Source,
)
from .file_name import make_file_name
from .job import Job
from .uploads import ImportContacts, ImportFile

__all__ = [
    "KINDS",
    "AddTags",
    "AddToLists",
    "DeleteContacts",
    "DeleteCustomFields",
    "DeleteLists",
    "DeleteTags",
    "ExportContacts",
    "ImportContacts",
    "ImportFile",
    "Job",
    "RemoveFromLists",
    "RemoveTags",
    "Source",
    "make_file_name",
]

KINDS: dict[str, type[Job]] = {
    job.kind: job
    for job in (
        AddTags,
        AddToLists,
        DeleteContacts,
        DeleteCustomFields,
        DeleteLists,
        DeleteTags,
        ExportContacts,
        ImportContacts,
        ImportFile,
        RemoveFromLists,
        RemoveTags,
    )
}
"""The class of each kind, by the vendor's word for it, such as "list_delete"."""
