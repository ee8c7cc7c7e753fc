"""Pieces that URLs are made of, and that take them apart."""

from __future__ import annotations

from hypothesis import strategies as st

url_pieces = st.sampled_from(
    [
        *(
            "/",
            "//",
            "\\",
            "?",
            "#",
            ":",
            "@",
            ".",
            "..",
            "%2e",
            "%2f",
            "%5c",
            "%25",
            "%00",
            "%",
            ";",
            "&",
            "=",
        ),
        *("v3", "/v3", "activities", "/v3/activities", "/activities", "contacts", "{id}", "cursor", "04fe9a"),
        *(
            "https://",
            "http://",
            "https:",
            "javascript:",
            "api.cc.email",
            "evil.example",
            ":443",
            "[::1]",
            ":8080",
        ),
        *("\n", "\t", " ", "\x00", "é", "\u2028", "user@"),
    ]
)
