from __future__ import annotations

from pathlib import Path

import pytest

from flight_server.protocol import generate

pytest.importorskip("grpc_tools")


def test_the_generated_code_is_up_to_date() -> None:
    assert generate.main(["--check"]) == 0


def test_a_difference_is_found_and_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = generate.compile_proto()
    name = "flight_sql_pb2.py"
    for each, text in fresh.items():
        (tmp_path / each).write_text(text, encoding="utf-8")
    (tmp_path / name).write_text(fresh[name] + "# edited by hand\n", encoding="utf-8")
    monkeypatch.setattr(generate, "_HERE", tmp_path)
    assert generate.main(["--check"]) == 1
    assert f"{name} does not match" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert (tmp_path / name).read_text(encoding="utf-8") == fresh[name]


def test_another_release_of_the_compiler_is_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each, text in generate.compile_proto().items():
        older = text.replace("7.35.1", "7.34.0").replace("    35,\n    1,\n", "    34,\n    0,\n")
        (tmp_path / each).write_text(older, encoding="utf-8")
    monkeypatch.setattr(generate, "_HERE", tmp_path)
    assert generate.main(["--check"]) == 0
