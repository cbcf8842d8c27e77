"""`persyn audit` in a terminal: what models and users wrote is shown, never obeyed."""

import json
from typing import Any

HARMFUL = "\x1b[31mred\x1b]0;title\x07 \u202eevil [bold]loud[/bold] [link=http://x]y[/link] :smile: \x9b2J"


def test_control_characters_and_markup_of_a_prompt_are_shown_and_not_obeyed(site: Any) -> None:
    site.prepare(prompts=4, calibration=2, marked={1: HARMFUL})
    shown = site.persyn("audit", "prompt", f"run-{site.tag}", "p1")
    assert shown.returncode == 0, shown.stderr
    for forbidden in ("\x1b", "\x07", "\u202e", "\x9b"):
        assert forbidden not in shown.stdout
    text = " ".join(shown.stdout.split())
    for literal in (
        r"\x1b[31mred",
        r"\x202eevil",
        "[bold]loud[/bold]",
        "[link=http://x]y[/link]",
        ":smile:",
        r"\x9b2J",
    ):
        assert literal in text


def test_json_keeps_the_exact_text(site: Any) -> None:
    site.prepare(prompts=4, calibration=2, marked={1: HARMFUL})
    shown = site.persyn("audit", "prompt", f"run-{site.tag}", "p1", "--json")
    assert json.loads(shown.stdout)["messages"][0]["content"].endswith(HARMFUL)


def test_integrity_lists_every_invariant_and_exits_with_0_when_all_hold(site: Any) -> None:
    site.prepare(prompts=4, calibration=2)
    shown = site.persyn("audit", "integrity", "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert len(found) >= 10
    assert set(found.values()) == {0}
