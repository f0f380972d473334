"""What runs the tests: a failure is named with its reason and its log, whatever a log holds."""

import os
import subprocess

from harness import ROOT

CMOCKA = r"""#!/bin/sh
printf '[==========] Running 2 test(s).\n[ RUN      ] one_is_fine\n[       OK ] one_is_fine\n[ RUN      ] two_is_not\n'
"""
FAILS = CMOCKA + r"""printf '\000\377 1 != 2\n[   LINE   ] --- x.c:3: error: Failure!\n[  FAILED  ] two_is_not\n'
printf '[  PASSED  ] 1 test(s).\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] two_is_not\n'; exit 1
"""
ENDS = CMOCKA + r"""printf '\000 1 != 2\n[   LINE   ] --- x.c:3: error: Failure!'; kill -ABRT $$
"""
RACES = CMOCKA + r"""printf '[       OK ] two_is_not\n[  PASSED  ] 2 test(s).\nWARNING: ThreadSanitizer: data race\n'; exit 66
"""
PASSES = RACES.replace("exit 66", "exit 0")


def units(tmp_path, **programs):
    paths = []
    for name, text in programs.items():
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
        paths.append(str(path))
    return subprocess.run([ROOT / "test" / "run-units.sh", "unit", *paths], env={**os.environ, "LOGS": str(tmp_path / "log")},
                          capture_output=True, text=True, errors="replace", timeout=60)


def test_a_failed_unit_test_is_named_with_its_reason_and_its_log(tmp_path):
    """With bytes in the log that are no text; and when the program ended in the middle of the test."""
    done = units(tmp_path, test_fails=FAILS, test_ends=ENDS)
    assert done.returncode == 1
    for name, code in (("test_fails", 1), ("test_ends", 134)):
        log = tmp_path / "log" / f"unit-{name}.log"
        assert f"---- unit: {name}: failed: two_is_not; exit code {code}, log in {log}\n" in done.stdout
        assert b"[ RUN      ] one_is_fine" in log.read_bytes()
    assert done.stdout.count("x.c:3: error: Failure!") == 2
    assert done.stdout.endswith("\n2 passed, 2 failed\n")


def test_a_program_that_fails_without_a_failed_test_counts_as_one(tmp_path):
    done = units(tmp_path, test_races=RACES, test_nothing="#!/bin/sh\n")
    assert done.returncode == 1
    assert f"---- unit: test_races: exit code 66, log in {tmp_path}/log/unit-test_races.log\n" in done.stdout
    assert "ThreadSanitizer: data race" in done.stdout
    assert done.stdout.endswith("\n2 passed, 2 failed\n")


def test_what_passes_is_counted(tmp_path):
    done = units(tmp_path, test_a=PASSES, test_b=PASSES)
    assert done.returncode == 0 and done.stdout.endswith("\n4 passed, 0 failed\n") and "----" not in done.stdout
