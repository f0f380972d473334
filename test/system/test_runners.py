"""What runs the tests: a failure is named with its reason and its log, whatever a log holds, and stops nothing behind it."""

import os
import signal
import subprocess

from harness import ROOT, wait_until

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
STAGES = r"""
fine: ; @echo '3 passed, 0 failed'
python: ; @echo 'FAILED system/test_x.py::test_a - AssertionError: no'; exit 1
two: direction tidy
direction: ; @echo 'direction: a/ may not include: b'; exit 1
tidy: ; @printf 'format: ok, 2 files\ngateway/x.c:3:1: error: bad\n\000\n'; exit 1
units: ; @echo '---- unit: test_x: failed: a_b; exit code 1, log in build/log/unit-test_x.log'; exit 1
slow: ; @echo begins; exec sleep 100
"""


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


def test_tests_of_the_same_name_in_two_folders_have_a_log_each(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / "test" / "unit" / folder).mkdir(parents=True)
    done = units(tmp_path, **{"test/unit/a/test_x": PASSES, "test/unit/b/test_x": FAILS})
    assert f"---- unit: b_test_x: failed: two_is_not; exit code 1, log in {tmp_path}/log/unit-b_test_x.log\n" in done.stdout
    assert sorted(log.name for log in (tmp_path / "log").iterdir()) == ["unit-a_test_x.log", "unit-b_test_x.log"]
    assert done.stdout.endswith("\n3 passed, 1 failed\n")


def test_what_passes_is_counted(tmp_path):
    done = units(tmp_path, test_a=PASSES, test_b=PASSES)
    assert done.returncode == 0 and done.stdout.endswith("\n4 passed, 0 failed\n") and "----" not in done.stdout


def stages(tmp_path, *names):
    (tmp_path / "Makefile").write_text(STAGES)
    return subprocess.Popen([ROOT / "test" / "run-stages.sh", *names], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env={**os.environ, "LOGS": "log", "MAKE": "make", "MAKEFLAGS": ""})


def test_stages_go_on_after_a_failure_and_the_summary_names_all_of_them(tmp_path):
    run = stages(tmp_path, "python", "fine", "two", "units")
    text, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "\n3 passed, 0 failed\n==== fine: ok, " in text  # a runner's closing line stays
    summary = [line.split(" s  ")[-1].strip() for line in text[text.index("==== summary\n"):].splitlines()[1:]]
    assert summary == ["python", "FAILED system/test_x.py::test_a - AssertionError: no", "make: python",
                       "log: log/stage-python.log",
                       "fine",
                       "two", "direction: a/ may not include: b", "gateway/x.c:3:1: error: bad", "make: direction", "make: tidy",
                       "log: log/stage-two.log",
                       "units", "---- unit: test_x: failed: a_b; exit code 1, log in build/log/unit-test_x.log", "make: units",
                       "log: log/stage-units.log",
                       "test: failed: python two units"]


def test_stages_that_all_go_through_end_with_ok(tmp_path):
    run = stages(tmp_path, "fine", "fine")
    text, _ = run.communicate(timeout=60)
    assert run.returncode == 0 and text.endswith("\ntest: ok, 2 stages\n")


def test_a_signal_ends_the_stage_and_all_that_follow(tmp_path):
    run = stages(tmp_path, "slow", "fine")
    log = tmp_path / "log" / "stage-slow.log"
    wait_until(lambda: log.exists() and "begins" in log.read_text(), 20, "the stage runs")
    run.send_signal(signal.SIGTERM)
    text, _ = run.communicate(timeout=20)  # ends only when nobody has its output open, the sleep among them
    assert run.returncode == 143 and "passed" not in text
