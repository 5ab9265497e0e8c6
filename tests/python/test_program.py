"""The thin calls of the program, tried on the one that AGXPATCH names."""

import os
import pickle

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
    monkeypatch.setattr(_program.site, "getuserbase", lambda: "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(FileNotFoundError, match="neither beside this Python nor on PATH"):
        _program.program()


def test_the_program_of_a_user_install_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(_program.sysconfig, "get_path", lambda _: "/nonexistent")
    monkeypatch.setattr(_program.site, "getuserbase", lambda: str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "agxpatch").touch()
    assert _program.program() == str(tmp_path / "bin" / "agxpatch")


def test_a_refusal_reaches_another_process_whole():
    refused = pickle.loads(pickle.dumps(agxpatch.AgxpatchError("AGX-0601", "not a Mac", "use one", 2)))
    assert (refused.code, refused.message, refused.next, refused.exit_status) == ("AGX-0601", "not a Mac", "use one", 2)
    assert str(refused) == "not a Mac [AGX-0601]; next: use one"
