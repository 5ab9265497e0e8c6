"""The thin calls of the program, tried on the one that AGXPATCH names."""

import os

import agxpatch
import pytest
from agxpatch import _program

PROGRAM = os.environ.get("AGXPATCH")
needs_program = pytest.mark.skipif(PROGRAM is None, reason="AGXPATCH names no program")


@pytest.fixture
def given(monkeypatch):
    monkeypatch.setattr(_program, "program", lambda: PROGRAM)


@needs_program
def test_crashes_returns_the_result_of_the_program(given, tmp_path):
    found = agxpatch.crashes(tmp_path)
    assert found["incidents"] == []


@needs_program
def test_a_refusal_is_raised_with_its_code_and_what_to_do_next(given, tmp_path):
    with pytest.raises(agxpatch.AgxpatchError) as refused:
        agxpatch.crashes(tmp_path / "missing")
    assert refused.value.code == "AGX-0901"
    assert refused.value.next
    assert "AGX-0901" in str(refused.value)


@needs_program
def test_doctor_refuses_off_a_mac(given):
    if os.uname().sysname == "Darwin":
        assert "depths" in agxpatch.doctor()
        return
    with pytest.raises(agxpatch.AgxpatchError) as refused:
        agxpatch.doctor()
    assert refused.value.code == "AGX-0601"


def test_a_missing_program_is_said(monkeypatch):
    monkeypatch.setattr(_program.sysconfig, "get_path", lambda _: "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(FileNotFoundError, match="neither beside this Python nor on PATH"):
        _program.program()
